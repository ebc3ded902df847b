"""The report: one signed JSON, the same as a page to print and file, and JUnit's form for programs.

What is promised: the JSON is a signed message of `gateway.domain.signature` that holds the public key it was signed
with. The page is made of that alone and carries it, so whoever checks a page makes it again and compares every byte.
A signature says that nothing was changed since; whose key it is, the reader must know. Nothing in it is of a patient.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jinja2 import Environment, StrictUndefined

from gateway.domain.signature import KeyId, Opened, key_id, opened, ring, sealed
from hwtests.outcome import Line, State

FORMAT: Final = "gateway-commission/1"
ACCEPTED, INCOMPLETE, REFUSED = "accepted", "not complete", "not accepted"
IN_PART = "passed in part"
GOOD: Final = frozenset({ACCEPTED, IN_PART})
_EMBEDDED: Final = re.compile(r'<script type="application/octet-stream" id="report">(.*?)</script>', re.DOTALL)
LONGEST: Final = 16 << 20


class NoReport(Exception):
    """A file is no report, or not as it was signed; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What one commissioning leaves."""

    json: Path
    html: Path
    junit: Path

    @classmethod
    def at(cls, folder: Path, stem: str) -> Files:
        return cls(json=folder / f"{stem}.json", html=folder / f"{stem}.html", junit=folder / f"{stem}.xml")


def result_of(lines: Sequence[Line], *, only: Sequence[str] = ()) -> str:
    """The one word: every line that was asked for passed, or is about what need not be there. Nothing is accepted by
    some of the lines (`only`) alone."""
    if any(line.state is State.FAILED for line in lines):
        return REFUSED
    left = any(line.state is State.NOT_TESTED and line.asked for line in lines)
    passed = any(line.state is State.PASSED for line in lines)
    if left or not passed:
        return INCOMPLETE
    return IN_PART if only else ACCEPTED


def report_of(head: Mapping[str, Any], lines: Sequence[Line], junit: Path) -> dict[str, Any]:
    """Everything that is signed. `head` is what the lines are about: box, profile, times, who."""
    counted = Counter(line.state for line in lines)
    return {
        **head,
        "type": FORMAT,
        "result": result_of(lines, only=head["only"]),
        "counts": {str(state): counted[state] for state in State},
        "lines": [line.as_json() for line in lines],
        "junit_sha256": sha256(junit.read_bytes()).hexdigest(),
    }


def write(report: Mapping[str, Any], key: Ed25519PrivateKey, to: Files) -> None:
    """Sign it, and write JSON and page."""
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    signed = sealed({**report, "public_key": public}, [key])
    to.json.write_bytes(signed)
    to.html.write_text(page(signed, key_id(key.public_key())), "utf-8")


def verify(path: Path) -> tuple[Mapping[str, Any], KeyId]:
    """Check a report or its page: what it says, and the key that signed it. Raises NoReport."""
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST)
    except OSError as error:
        raise NoReport(f"it can't be read ({error.strerror})") from None
    embedded = _EMBEDDED.search(text := raw.decode("utf-8", "replace"))
    try:
        signed = base64.b64decode(embedded[1], validate=True) if embedded else raw
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(json.loads(signed)["public_key"], validate=True))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoReport("it is no report of a commissioning") from None
    found = opened(signed, trusted=ring([public]), longest=LONGEST)
    if not isinstance(found, Opened) or found.body.get("type") != FORMAT:
        raise NoReport("the signature does not hold: the report was changed after it was signed")
    if embedded and page(signed, found.signers[0]) != text:
        raise NoReport("the page does not show what was signed, or another version made it; check the JSON beside it")
    return found.body, found.signers[0]


def page(signed: bytes, key: KeyId) -> str:
    """The report as a page of its own, without anything from elsewhere."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(files("hwtests").joinpath("report.html").read_text("utf-8"))
    return template.render(report=json.loads(signed), key=key, embedded=base64.b64encode(signed).decode())
