"""The bytes of an HL7 message as text: MSH-18 (HL7 table 0211), its spellings in the field, and the sender's own.

Promises
- A message is decoded as a whole before it is split: in Shift JIS, GB 18030, Big5 and JIS X 0208 a byte
  of a character may equal a separator.
- Decoding is strict. Bytes that don't fit the declared set raise `Hl7Error`; no character is ever replaced.
- MSH-18 may repeat: the first repetition is the default set, the others are alternates that ISO 2022
  escape sequences switch to (MSH-20).
- Without MSH-18: ASCII if all bytes are; else UTF-8 if they are valid UTF-8; else the fallback.
- Code points 80-9F of "8859/1" are read as Windows-1252: no text holds the control characters that
  ISO 8859-1 has there, and Windows systems declare it so.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.domain.model import PermanentFailure

FALLBACK: Final = "cp1252"
"""Of a sender that declares nothing and sends no UTF-8."""
JIS: Final = "iso2022_jp_ext"
"""JIS X 0201, 0208 and 0212 behind ISO 2022 escape sequences."""

_CODECS: Final = {
    "ASCII": "ascii", "USASCII": "ascii", "ISOIR6": "ascii",
    **{f"8859{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    **{f"ISO8859{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    "ISOIR100": "iso8859_1", "ISOIR101": "iso8859_2", "ISOIR109": "iso8859_3", "ISOIR110": "iso8859_4",
    "ISOIR144": "iso8859_5", "ISOIR127": "iso8859_6", "ISOIR126": "iso8859_7", "ISOIR138": "iso8859_8",
    "ISOIR148": "iso8859_9", "ISOIR203": "iso8859_15", "ISOIR166": "iso8859_11", "TIS620": "iso8859_11",
    "WINDOWS1252": "cp1252", "CP1252": "cp1252",
    "ISOIR13": "shift_jis", "ISOIR14": "shift_jis", "SHIFTJIS": "cp932",
    "ISOIR87": JIS, "ISOIR159": JIS,
    "GB180302000": "gb18030", "GB18030": "gb18030", "GBK": "gbk", "GB2312": "gb2312", "ISOIR58": "gb2312",
    "KSX1001": "euc_kr", "ISOIR149": "euc_kr", "BIG5": "big5",
    "UNICODE": "utf_8", "UNICODEUTF8": "utf_8", "UTF8": "utf_8", "ISOIR192": "utf_8",
}  # fmt: skip
_PUNCTUATION: Final = re.compile(r"[ _/.:-]")
_C1: Final = re.compile(rb"[\x80-\x9f]")


class Hl7Error(PermanentFailure):
    """Bytes that can't be read as the HL7 message they claim to be.

    `code` is of HL7 table 0357 (100 sequence, 101 required missing, 102 data type, 103 table value, 200 type,
    201 event, 202 processing id, 203 version, 207 internal), `location` the place, like "MSH-18".
    """

    def __init__(self, message: str, *, code: str = "102", location: str = "") -> None:
        super().__init__(message, code=code)
        self.location = location


def codec_of(name: str) -> str | None:
    """The codec of a character set as HL7, DICOM or a sender's manual spells it; None if there is none."""
    return _CODECS.get(_PUNCTUATION.sub("", name.strip().upper()))


def decode(raw: bytes, *, declared: tuple[str, ...], fallback: str = "") -> tuple[str, str]:
    """The text of a message and the codec it was read with.

    `declared` holds the repetitions of MSH-18, or the one name that a sender's settings put in their place.
    `fallback` is the set of a sender that declares none. Raises `Hl7Error` at MSH-18.
    """
    codec = _codec(raw, declared, fallback)
    try:
        return raw.decode(codec), codec
    except UnicodeDecodeError as error:
        raise Hl7Error(
            f"byte {error.start} of the message does not fit its character set {codec};"
            " correct MSH-18 at the sender or set the sender's charset",
            location="MSH-18",
        ) from None


def _codec(raw: bytes, declared: tuple[str, ...], fallback: str) -> str:
    codecs = [codec_of(name) for name in declared if name.strip()]
    if raw.isascii() and b"\x1b" not in raw:
        # Every codec of the table reads these the same; the choice is for the bytes that escapes spell
        return codecs[0] or "ascii" if codecs else codec_of(fallback) or FALLBACK
    if None in codecs:
        raise Hl7Error(
            "the character set is not one we read; send UNICODE UTF-8 or set the sender's charset",
            code="103",
            location="MSH-18",
        )
    if JIS in codecs:
        return JIS
    first = codecs[0] if codecs else None
    if first is None:
        return "utf_8" if _is_utf8(raw) else codec_of(fallback) or FALLBACK
    return "cp1252" if first == "iso8859_1" and _C1.search(raw) else first


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf_8")
    except UnicodeDecodeError:
        return False
    return True
