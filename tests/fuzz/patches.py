"""The target of corrections: whatever the data set, a patch changes what it names and nothing else, or is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.dicom import elements
from gateway.dicom.layout import inflate
from gateway.dicom.patching import Head, is_denied
from gateway.domain.edits import Edit, Patch
from gateway.domain.identity_model import Reason
from gateway.roles.forward.patching import Unpatchable, patched
from tests.dicom.test_patching import joined
from tests.fuzz.datasets import INFLATED, SYNTAXES

AT = datetime(2026, 1, 2, tzinfo=UTC)
_RECORDED = {0x00080015, 0x0018A001, 0x04000561, 0x00080005}


_ADDED = 4096
"""Bytes that a patch adds at most here."""


def _edit(*path: int, value: str | None) -> Edit:
    return Edit(path=path, value=value, reason=Reason.CORRECT, rule="fuzz@1")


EDITS = (
    _edit(0x00100010, value="Müller^Änne"),
    _edit(0x00100020, value="P-2"),
    _edit(0x00080050, value=""),
    _edit(0x00101002, value=None),
    _edit(0x00400275, 0, 0x00400009, value="S2"),
    _edit(0x00080051, 0, 0x00400031, value="RIS"),
)


def patching(data: bytes) -> str:
    """Refused as a whole; or patched, and a second run finds nothing to do."""
    syntax, source = SYNTAXES[(data or b"\0")[0] % len(SYNTAXES)], data[1:]
    patch = Patch(edits=EDITS, at=AT, system="fuzz")
    try:
        made = joined(source, patched(source, syntax, patch, max_inflated=INFLATED))
    except Unpatchable as error:
        return error.code
    with Head(source, syntax) as old, Head(made, syntax) as new:
        before, after = _plain(source, syntax), _plain(made, syntax)
        assert after[new.end :].rstrip(b"\0") == before[old.end :].rstrip(b"\0")
        touched = {edit.path[0] for edit in EDITS} | _RECORDED
        other = 0x00080005 in new and old.get(0x00080005) != new.get(0x00080005)
        for tag in old:
            if tag & 0xFFFF and tag not in touched and (is_denied(tag) or not other):
                assert _read(new, tag) == _read(old, tag), hex(tag)
        assert set(new) - set(old) <= touched
    again = Patch(edits=EDITS, at=AT + timedelta(days=1), system="fuzz")
    assert (
        joined(made, patched(made, syntax, again, max_inflated=INFLATED + _ADDED)) == made
        or syntax == elements.DEFLATED
    )
    return "patched"


def _read(head: Head, tag: int) -> object:
    """The element; damage inside of a sequence that nobody asked for stays as it is."""
    try:
        return head[tag]
    except elements.ElementError as error:
        return str(error)


def _plain(source: bytes, syntax: str) -> bytes:
    return inflate(source, limit=1 << 28) if syntax == elements.DEFLATED else source
