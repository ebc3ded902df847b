"""Worklist rows and queries for the tests of this floor, written as text."""

from __future__ import annotations

from gateway.domain.worklist import DataSet, Element, Value

VRS = {
    0x00080005: "CS",
    0x00080050: "SH",
    0x00080052: "CS",
    0x00080060: "CS",
    0x00080201: "SH",
    0x00100010: "PN",
    0x00100020: "LO",
    0x0020000D: "UI",
    0x00100030: "DA",
    0x00401001: "SH",
    0x00401400: "LT",
    0x00400001: "AE",
    0x00400002: "DA",
    0x00400003: "TM",
    0x00400006: "PN",
    0x00400009: "SH",
    0x00400020: "CS",
}


def utf8(value: bytes, vr: str) -> str:
    assert len(vr) == 2
    return value.decode("utf-8")


def dataset(**values: str | list[DataSet]) -> DataSet:
    """`_00100010="A^B"` by tag; a list is a sequence."""
    found: dict[int, Element] = {}
    for name, value in values.items():
        tag = int(name.strip("_"), 16)
        raw: Value = value if isinstance(value, list) else value.encode()
        found[tag] = Element("SQ" if isinstance(value, list) else VRS.get(tag, "LO"), raw)
    return found


STEP = {
    "_00400001": "CT1\\CT2",
    "_00400002": "20260706",
    "_00400003": "103000",
    "_00080060": "CT",
    "_00400006": "Operator^One",
    "_00400009": "SPS1",
}
ROW = {
    "_00080050": "ACC1",
    "_00100010": "Müller^Änne=山田^太郎=やまだ^たろう",
    "_00100020": "PID1",
    "_0020000D": "1.2.3",
    "_00401001": "RP1",
}


def row(step: dict[str, str] | None = None, /, **top: str) -> DataSet:
    """A row that differs from the standard one in these values."""
    return dataset(**{**ROW, **top}, _00400100=[dataset(**{**STEP, **(step or {})})])


def query(step: dict[str, str] | None = None, /, **top: str) -> DataSet:
    if step is None:
        return dataset(**top)
    return dataset(**top, _00400100=[dataset(**step)])
