"""The commissioning test of compression: one image in every form that a destination accepts, beside itself native.

The forms are made as those of real images are, by a codec process, and go the destination's own way. That they are
stored proves that they were negotiated; that they are viewable, a person sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.app.destinations import way_to
from gateway.config import Config, Destination
from gateway.domain.compression import DEFLATED, HTJ2K, JPEG_2000, JPEG_LS, RLE, Content
from gateway.domain.model import UID, Instance, PermanentFailure
from gateway.net.codec import Codecs
from gateway.net.codec_task import Made, Task
from gateway.roles.forward.sending import Opened
from gateway.roles.forward.target import Line
from gateway.simulate.test_image import write_test_image

FORMS: Final = {
    "": "as it is",
    JPEG_LS: "JPEG-LS",
    JPEG_2000: "JPEG 2000",
    HTJ2K: "HTJ2K",
    RLE: "RLE",
    DEFLATED: "deflated",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What became of one image."""

    form: str
    colour: bool
    ratio: float
    """How much smaller it went; 0: it did not go."""
    outcome: str


def compression_test(
    config: Config, destination: Destination, folder: Path, *, study: str, at: datetime
) -> Iterator[Shown]:
    """Send them, in an empty folder, and tell of each. Raises GatewayError if the destination can't be reached."""
    limits = config.compression
    timeout = limits.timeout.total_seconds()
    with closing(Codecs(workers=1, memory=limits.memory, timeout=timeout, tasks=limits.tasks)) as codecs:
        number = 0
        line: Line | None = None
        try:
            for syntax, form in FORMS.items():
                for colour in (False, True):
                    number += 1
                    path = folder / f"{number}.dcm"
                    image = write_test_image(path, form=form, study=study, colour=colour, at=at, number=number)
                    offered = codecs.syntaxes | {DEFLATED}
                    line = line or way_to(config, destination).open([image], allow=lambda many: many, offered=offered)
                    yield _sent(line, codecs, image, path, syntax, colour=colour)
        finally:
            if line is not None:
                line.release()


def _sent(line: Line, codecs: Codecs, image: Instance, path: Path, syntax: str, *, colour: bool) -> Shown:
    form = FORMS[syntax]
    if syntax and syntax not in line.accepts(image):
        return Shown(form=form, colour=colour, ratio=0, outcome="not accepted")
    out, file = image, path
    if syntax:
        made = codecs.submit(_task(image, path, syntax), urgency=0).result()
        if not isinstance(made, Made):
            return Shown(form=form, colour=colour, ratio=0, outcome=f"not made: {made.why}")
        out = replace(
            image, TransferSyntaxUID=UID(made.TransferSyntaxUID), size=made.size, content_hash=made.content_hash
        )
        file = path.with_suffix(".dataset")
    try:
        outcome = line.store(image, lambda _: Opened(out, file), attempts=0, meanwhile=lambda: None)
    except PermanentFailure as error:
        return Shown(form=form, colour=colour, ratio=0, outcome=error.code)
    stored = outcome.is_stored
    return Shown(
        form=form,
        colour=colour,
        ratio=image.size / out.size if stored else 0,
        outcome="stored" if stored else outcome.code,
    )


def _task(image: Instance, path: Path, syntax: str) -> Task:
    return Task(
        source=path,
        size=image.size,
        TransferSyntaxUID=image.TransferSyntaxUID,
        content_hash=image.content_hash,
        target=path.with_suffix(".dataset"),
        preferred=tuple((content, (syntax,)) for content in Content),
    )
