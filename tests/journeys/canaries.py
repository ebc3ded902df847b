"""Marked patients: texts that nothing but a patient's data holds, and the search for them in any spelling.

Each mark is long enough that it is met by chance once in a long while: nine letters, nine digits, a day of 1871.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import DicomDictionary
from pydicom.sequence import Sequence as Items

from tests.peers import objects

TEXT, NUMBER, DAY, HOUR = "ZQXJKWVQY", "777182818", "18710318", "234517.182818"
MARKS = (TEXT, NUMBER, DAY, HOUR)
_NUMBERED = "000"
_VALUES = {
    "PN": f"{TEXT}{_NUMBERED}^{TEXT}{_NUMBERED}",
    "UI": f"2.25.{NUMBER}{_NUMBERED}",
    "DA": DAY,
    "TM": HOUR,
    "DT": DAY + HOUR,
    "IS": NUMBER,
    "DS": f"{NUMBER}.5",
    "AS": "077Y",
    "UR": f"http://{TEXT}{_NUMBERED}.example/",
    **dict.fromkeys(("AE", "CS", "LO", "SH", "LT", "ST", "UC", "UT"), f"{TEXT}{_NUMBERED}"),
}
_OURS = {"SpecificCharacterSet", "SOPClassUID", "Modality", "ScheduledStationAETitle", "TimezoneOffsetFromUTC"}
_STEP = 0x0040
"""The group that a step of the worklist is of."""


def _every_element() -> Iterator[tuple[str, str]]:
    """The keyword of every text element that a data set may hold, and its marked value."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if 0x0008 <= tag >> 16 < 0x5000 and tag & 0xFFFF and keyword and keyword not in _OURS and vr in _VALUES:
            yield keyword, _VALUES[vr]


def _marked(ds: Dataset) -> Dataset:
    for keyword, value in _every_element():
        setattr(ds, keyword, value)
    ds.add_new(0x00091001, "LO", f"{TEXT}{_NUMBERED}")
    return ds


def images(folder: Path, count: int) -> list[Path]:
    """Studies of one image each, every text element of the dictionary marked."""
    image = objects.ct(1, rows=16, columns=16)
    kept = {name: image[name].value for name in ("PhotometricInterpretation", "NumberOfFrames") if name in image}
    _marked(image)
    for name, value in kept.items():
        setattr(image, name, value)
    for name in ("NumberOfFrames", "PixelDataProviderURL"):
        if name not in kept and name in image:
            del image[name]
    first = objects.write(folder, image)
    template = first.read_bytes()
    first.unlink()
    return [_numbered(folder, template, number) for number in range(1, count + 1)]


def _numbered(folder: Path, template: bytes, number: int) -> Path:
    own = template
    for mark in (TEXT, NUMBER):
        own = own.replace(f"{mark}{_NUMBERED}".encode(), f"{mark}{number:03}".encode())
    path = folder / f"{number:03}.dcm"
    path.write_bytes(own)
    return path


def rows(count: int, *, day: str) -> list[Dataset]:
    """Steps of a worklist, of that day so that they are asked for, with every text element marked otherwise."""
    return [_row(number, day) for number in range(1, count + 1)]


def _row(number: int, day: str) -> Dataset:
    row = objects.scheduled(number, start=day)
    marked = f"{TEXT}{number:03}"
    for element in [*row, *row.ScheduledProcedureStepSequence[0]]:
        if element.keyword in _OURS or element.keyword.startswith("ScheduledProcedureStepStart"):
            continue
        if element.VR in _VALUES and not isinstance(element.value, Items):
            element.value = _VALUES[element.VR].replace(_NUMBERED, f"{number:03}")
    row.PatientID = row.AccessionNumber = marked
    return row


def hl7(message: bytes, number: int) -> bytes:
    """A message with every word and every number of a patient or an order marked; dates and codes stay."""
    marked = f"{TEXT}{number:03}"
    head, *segments = message.split(b"\r")
    text = b"\r".join(segments).decode("latin-1").replace("|19670921|", f"|{DAY}|")
    text = re.sub(r"(?<=[|^~&])[A-Za-z-]{5,}(?=[|^~& \r])", marked, text)
    text = re.sub(r"(?<=[|^~&])(?!(19|20)\d{6})[A-Z]{0,3}\d{5,}(?=[|^~&\r])", marked, text)
    text = re.sub(r"(?<=ZDS\|)[\d.]+", f"2.25.{NUMBER}{number:03}", text)
    fields = head.split(b"|")
    fields[9] = marked.encode()
    return b"\r".join([b"|".join(fields), text.encode("latin-1")])


def spellings(mark: str) -> dict[str, re.Pattern[bytes]]:
    """How a mark may stand somewhere: as it is, in UTF-16, base64 at each offset, hexadecimal, percent-encoded."""
    found = {}
    for case in {mark, mark.lower()}:
        plain = case.encode()
        found |= {
            f"raw {case}": re.escape(plain),
            f"UTF-16 little {case}": re.escape(case.encode("utf-16-le")),
            f"UTF-16 big {case}": re.escape(case.encode("utf-16-be")),
            f"hex {case}": b"(?i)" + b"(?:[ :]|\\\\x|0x)?".join(b"%02x" % byte for byte in plain),
            f"url {case}": b"(?i)" + b"".join(b"(?:%b|%%%02x)" % (re.escape(bytes([byte])), byte) for byte in plain),
        }
        for wide, encoded in (("", plain), (" of UTF-16", case.encode("utf-16-le"))):
            for offset in range(3):
                whole = base64.b64encode(b"\0" * offset + encoded)
                certain = whole[-(-offset * 8 // 6) : (offset + len(encoded)) * 8 // 6]
                found[f"base64{wide} at {offset} {case}"] = re.escape(certain)
    return {name: re.compile(pattern) for name, pattern in found.items()}


SPELLINGS = {name: pattern for mark in MARKS for name, pattern in spellings(mark).items()}


def hits(where: str, content: bytes) -> list[str]:
    """Each spelling of each mark that is met, with what stands around it."""
    return [
        f"{where}: {name}: {content[max(0, found.start() - 60) : found.end() + 40]!r}"
        for name, pattern in SPELLINGS.items()
        if (found := pattern.search(content))
    ]
