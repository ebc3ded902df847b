"""Text in the database, whatever the wire gave us.

SQLite keeps UTF-8, and an identifier is the bytes it is (invariant 6: never refused for its contents). Bytes that
were no text arrive as lone surrogates; they are kept as characters of the private use area and come back as they
were. Text that itself holds one of these 128 characters (U+F780 to U+F7FF, of no standard) comes back with such a
byte in its place: to look at every value before it is written costs more than that is worth. Files keep every byte,
and so does JSON that is read by `json_text`.
"""

from __future__ import annotations

from typing import Any, Final

_TO_COLUMN: Final = {escaped: escaped - 0xDC80 + 0xF780 for escaped in range(0xDC80, 0xDD00)}
"""What `surrogateescape` makes of bytes that are no text, and what is kept of it."""
_FROM_COLUMN: Final = {stored: escaped for escaped, stored in _TO_COLUMN.items()}


def bindable(parameters: Any) -> Any:
    """The parameters of a statement as they can be kept."""
    if isinstance(parameters, dict):
        return {name: _to_column(value) for name, value in parameters.items()}
    return tuple(map(_to_column, parameters))


def from_column(raw: bytes) -> str:
    """What was kept, as it came."""
    text = raw.decode("utf-8")
    return text if text.isascii() else text.translate(_FROM_COLUMN)


def json_text(text: str) -> str:
    """JSON out of a column as it was written: nothing in it stands for bytes, and no reader takes a surrogate."""
    return text if text.isascii() else text.translate(_TO_COLUMN)


def _to_column(value: Any) -> Any:
    return value.translate(_TO_COLUMN) if isinstance(value, str) and not value.isascii() else value
