"""Whether the bytes of a value have the form that their VR demands (PS3.5 table 6.2-1).

Promises: `fault_of` names what is wrong with a value as a shape and never repeats it; it never raises. A value of a VR
that is not text, or not known, has no fault.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_LONGEST: Final = {
    **{"AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "DT": 26, "IS": 12, "LO": 64, "LT": 10240},
    **{"PN": 64, "SH": 16, "ST": 1024, "TM": 14, "UI": 64},
}
"""Characters of one value; of a component group for PN. TM may be 16 bytes with its padding; DT has its offset."""
_UNSPLIT: Final = frozenset({"LT", "ST", "UT", "UR"})
_DAY: Final = r"(?:\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))"
_CLOCK: Final = r"(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
_FORM: Final = {
    "AE": re.compile(r"[ -\[\]-~]*"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]*"),
    "DA": re.compile(_DAY),
    "DS": re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? *"),
    "DT": re.compile(rf"\d{{4}}(?:(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12]\d|3[01])(?:{_CLOCK})?)?)?(?:[+-][01]\d[0-5]\d)?"),
    "IS": re.compile(r" *[+-]?\d+ *"),
    "TM": re.compile(_CLOCK),
    "UI": re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*"),
}
_CONTROLS: Final = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_ALLOWED_CONTROLS: Final = {"LT": "\t\n\f\r", "ST": "\t\n\f\r", "UT": "\t\n\f\r"}
TEXTUAL: Final = frozenset({*_LONGEST, "UC", "UR", "UT"})


def fault_of(value: bytes, vr: str) -> str:
    """What is wrong with a value, padding included; "" if nothing is."""
    if vr not in TEXTUAL or not value:
        return ""
    return fault_of_text(value.decode("latin-1").rstrip("\0" if vr == "UI" else " "), vr)


@lru_cache(maxsize=4096)
def fault_of_text(text: str, vr: str) -> str:
    """The same for text without its padding."""
    for one in [text] if vr in _UNSPLIT else text.split("\\"):
        fault = _fault(one, vr)
        if fault:
            return fault
    return ""


def _fault(one: str, vr: str) -> str:
    if not one:
        return ""
    bare = one.strip(" ") if vr in {"AE", "CS", "LO", "SH"} else one
    length = max(map(len, one.split("="))) if vr == "PN" else len(bare)
    if one.isascii() and length > _LONGEST.get(vr, length):  # a multi-byte set has fewer characters than bytes
        return f"{length} characters where {vr} has at most {_LONGEST[vr]}"
    if vr == "PN" and (one.count("=") > 2 or any(group.count("^") > 4 for group in one.split("="))):
        return "more parts than a name has"
    form = _FORM.get(vr)
    if form is not None and form.fullmatch(bare) is None:
        return f"not the form of {vr}"
    if form is None and any(found not in _ALLOWED_CONTROLS.get(vr, "") for found in _CONTROLS.findall(one)):
        return "control characters"
    return ""
