"""Every kind of object, through every codec, read back by decoders that are not ours (issue 7, Done when 1).

What goes out holds the same container bytes, the same UIDs and the same elements, apart from the transfer syntax and
what it requires of Photometric Interpretation and Planar Configuration; what can't be so goes out as it came.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.domain.compression import DEFLATED, IMAGE_CODECS, JPEG_2000, RLE, SMALLEST
from gateway.net.codec_object import work
from gateway.net.codec_task import Left, Made
from tests.codec import corpus, decoders
from tests.codec.objects import EACH, SHORT, as_file, task
from tests.peers.bundled import sendable_pydicom_files

pytestmark = [pytest.mark.filterwarnings("ignore")]

NATIVE = {ExplicitVRLittleEndian, ImplicitVRLittleEndian}
BUNDLED = {
    one.path.name: one.path
    for one in sendable_pydicom_files()
    if one.TransferSyntaxUID in NATIVE and len(one.dataset) >= SMALLEST
}
STAYS = {"big-endian", "deflated"}
ONLY_DEFLATED = {
    "segmentation", "float", "double", "dose-32", "report", "pdf", "ybr-full-422", "ragged",
}  # fmt: skip
LEAST = 60
"""Objects the issue asks for."""


def check(path: Path) -> dict[str, Made | Left]:
    """Compress with each codec alone; what was made must be the same image to others."""
    found: dict[str, Made | Left] = {}
    before = dcmread(path)
    for syntax in EACH:
        asked = task(path, accepted=[syntax])
        answer = found[syntax] = work(asked)
        assert asked.target.exists() is isinstance(answer, Made)
        if isinstance(answer, Made):
            assert answer.TransferSyntaxUID == syntax
            assert asked.target.stat().st_size == answer.size < asked.size / 1.05
            assert answer.size % 2 == 0
            sent = as_file(asked, answer)
            assert_same_elements(before, dcmread(sent), syntax)
            if "PixelData" in before:
                assert_same_pixels(before, sent, syntax)
    assert not list(path.parent.glob("*.part"))
    return found


def assert_same_elements(before: Dataset, after: Dataset, syntax: str) -> None:
    """Only what the syntax requires differs; retired group lengths (PS3.5 7.2) may go with Implicit VR."""
    allowed = {"PixelData", "PlanarConfiguration", "PhotometricInterpretation"} if syntax in IMAGE_CODECS else set()
    kept = [element for element in before if element.tag.element != 0]
    again = {element.tag: element for element in after}
    assert [element.tag for element in kept] == [tag for tag in again if tag.element != 0]
    for element in kept:
        if element.keyword not in allowed:
            assert again[element.tag] == element, element.keyword
    if syntax in IMAGE_CODECS and before.SamplesPerPixel == 3:
        assert after.PlanarConfiguration == (1 if syntax == RLE else 0)
        transformed = syntax not in {RLE, EACH[0]} and before.PhotometricInterpretation == "RGB"
        assert after.PhotometricInterpretation == ("YBR_RCT" if transformed else before.PhotometricInterpretation)


def assert_same_pixels(before: Dataset, sent: Path, syntax: str) -> None:
    wanted, got = before.PixelData, decoders.pixels(sent, syntax)
    if syntax in IMAGE_CODECS:
        length = before.Rows * before.Columns * before.SamplesPerPixel * before.BitsAllocated // 8
        length *= int(before.get("NumberOfFrames") or 1)
        wanted, got = wanted[:length], got[:length]
        if before.SamplesPerPixel == 3 and before.PlanarConfiguration != (1 if syntax == RLE else 0):
            wanted = turned(wanted, before)
    assert got == wanted, SHORT[syntax]


def turned(pixels: bytes, ds: Dataset) -> bytes:
    """Colour planes as colour by pixel, or the other way round."""
    count = ds.Rows * ds.Columns
    shape = (-1, 3, count) if ds.PlanarConfiguration == 1 else (-1, count, 3)
    return np.frombuffer(pixels, f"u{ds.BitsAllocated // 8}").reshape(shape).swapaxes(1, 2).tobytes()


@pytest.mark.parametrize("name", sorted(corpus.MADE))
def test_what_is_sent_is_what_was_received(name: str, tmp_path: Path) -> None:
    found = check(corpus.made(name, tmp_path))
    made = {syntax for syntax, answer in found.items() if isinstance(answer, Made)}
    if name in STAYS:
        assert made == set()
    elif name in ONLY_DEFLATED:
        assert made == {DEFLATED}
    elif name != "private":  # whose header is most of it
        assert EACH[0] in made
        assert (JPEG_2000 in made) is not ("overlay" in name and name not in {"overlay-signed", "overlay-8"})


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_what_pydicom_carries_is_sent_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / "object.dcm"
    path.write_bytes(BUNDLED[name].read_bytes())
    check(path)


def test_the_corpus_is_large_enough() -> None:
    assert len(corpus.MADE) + len(BUNDLED) >= LEAST
