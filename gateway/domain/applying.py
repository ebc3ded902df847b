"""A patch applied to one header: which elements of the top level become what (PS3.3 C.12.1.1.9).

Promises

* What was replaced, added or taken out stands in the Original Attributes Sequence (0400,0561) with the bytes it had:
  one item for each reason, behind those that are there; what was inside of a sequence as that whole sequence; the
  issuer beside a PatientID; what was added as an empty value; what breaks its VR as an empty value there and with its
  bytes in (0400,0551). Instance Coercion DateTime (0008,0015) says when, Contributing Equipment (0018,A001) that it
  was us.
* Text is written in the character set of the object. Where that can't hold it, the first of `WIDER` that holds all
  becomes the set of the whole object, if every other text of it comes through unchanged both ways. There is no "?".
* An edit that changes nothing leaves no trace; where none changes anything there are no changes. So a patch that is
  applied to what it made changes nothing.

Failure: `NotApplicable`, with a stable code. Then the object leaves as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from pydicom.datadict import dictionary_VR

from gateway.domain.edits import Edit, Patch, Path, spelled
from gateway.domain.identity_model import Reason
from gateway.domain.value_forms import fault_of
from gateway.domain.worklist import SPECIFIC_CHARACTER_SET, DataSet, Element, Value

Changes: TypeAlias = "dict[int, Element | None]"
"""New elements by tag; None takes one out."""
WIDER: Final = (("ISO_IR 100",), ("ISO_IR 192",))
"""Character sets for what the object's own can't hold, those that more readers know first."""
_COERCED_AT: Final = 0x00080015
_PATIENT_ID: Final = 0x00100020
_ISSUER: Final = 0x00100021
_EQUIPMENT: Final = 0x0018A001
_ORIGINAL: Final = 0x04000561
_TEXT: Final = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
"""The VRs that depend on Specific Character Set (PS3.5 6.1.2.2)."""


class Codec(Protocol):
    """Text in character sets: `gateway.dicom.charset`."""

    def character_sets(self, value: bytes, /) -> list[str]: ...
    def known(self, specific_character_set: list[str], /) -> bool: ...
    def decode_checked(self, value: bytes, vr: str, specific_character_set: list[str], /) -> tuple[str, bool]: ...
    def encode(self, text: str, vr: str, specific_character_set: list[str], /) -> bytes: ...


class NotApplicable(ValueError):
    """The patch can't be applied to this object. The message names the attribute, never a value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def changes_of(patch: Patch, header: DataSet, codec: Codec, *, behind: Callable[[], DataSet]) -> Changes:
    """What the patch makes of the top level of an object.

    `header` is read only where the patch needs it. `behind` reads what stands between the header and the pixels; it is
    asked only if the character set must become a wider one. Raises NotApplicable.
    """
    declared = _sets(header, codec)
    made, sets = _redeclared(patch, header, codec, declared, behind)
    touched: dict[int, Reason] = {tag: Reason.COERCE for tag in made if tag == SPECIFIC_CHARACTER_SET}
    for edit in patch.edits:
        tag = edit.path[0]
        if tag != SPECIFIC_CHARACTER_SET:
            made[tag] = _edited(made[tag] if tag in made else _known(header, tag), edit, edit.path, codec, sets)
        if touched.get(tag) is not Reason.CORRECT:
            touched[tag] = edit.reason
    made = {tag: element for tag, element in made.items() if not _same(element, header.get(tag))}
    touched = {tag: reason for tag, reason in touched.items() if tag in made}
    if not touched:
        return {}
    return made | _recorded(patch, header, touched)


def _known(header: DataSet, tag: int) -> Element | None:
    found = header.get(tag)
    return None if found is None else Element(*found)


def _sets(header: DataSet, codec: Codec) -> list[str]:
    element = header.get(SPECIFIC_CHARACTER_SET)
    return codec.character_sets(element[1]) if element is not None and isinstance(element[1], bytes) else []


# -- one edit --


def _edited(old: Element | None, edit: Edit, path: Path, codec: Codec, sets: list[str]) -> Element | None:
    """The element after the edit of what `path` names in it."""
    if len(path) == 1:
        return None if edit.value is None else Element(edit.vr, _encoded(edit, codec, sets))
    if old is not None and isinstance(old.value, bytes) and old.value:
        raise NotApplicable("not-a-sequence", f"{spelled(edit.path[:1])}: holds no items; it is left as it came")
    items = list(old.value) if old is not None and not isinstance(old.value, bytes) else []
    at, inner = path[1], path[2:]
    if at == len(items) and edit.value is None:
        return old
    if at > len(items):
        raise NotApplicable("no-such-item", f"{spelled(edit.path)}: there are {len(items)} items; check it again")
    item = dict(items[at]) if at < len(items) else {}
    own = item.get(SPECIFIC_CHARACTER_SET)
    if own is not None and isinstance(own[1], bytes):
        sets = codec.character_sets(own[1])
    changed = _edited(_known(item, inner[0]), edit, inner, codec, sets)
    if changed is None:
        item.pop(inner[0], None)
    else:
        item[inner[0]] = changed
    items[at : at + 1] = [item]
    return Element("SQ", items)


def _encoded(edit: Edit, codec: Codec, sets: list[str]) -> bytes:
    try:
        return codec.encode(edit.value or "", edit.vr, sets)
    except ValueError:
        raise NotApplicable("charset", f"{edit.name}: no character set of the object holds the value") from None


def _same(one: tuple[str, Value] | None, other: tuple[str, Value] | None) -> bool:
    """Whether two elements differ in nothing but padding and the spelling of their VR."""
    if one is None or other is None:
        return one is other
    if isinstance(one[1], bytes) or isinstance(other[1], bytes):
        return (
            isinstance(one[1], bytes)
            and isinstance(other[1], bytes)
            and one[1].rstrip(b" \0") == other[1].rstrip(b" \0")
        )
    return len(one[1]) == len(other[1]) and all(
        a.keys() == b.keys() and all(_same(a[tag], b[tag]) for tag in a) for a, b in zip(one[1], other[1], strict=True)
    )


# -- the character set --


def _redeclared(
    patch: Patch, header: DataSet, codec: Codec, declared: list[str], behind: Callable[[], DataSet]
) -> tuple[Changes, list[str]]:
    """What a change of the character set changes, and the sets that the new texts are to be written in."""
    named = [edit for edit in patch.edits if edit.path == (SPECIFIC_CHARACTER_SET,)]
    if named:
        return _declared_anew(named[-1], header, codec)
    texts = [edit for edit in patch.edits if edit.vr in _TEXT and edit.value and not edit.value.isascii()]
    if all(_fits(edit, codec, declared) for edit in texts):
        return {}, declared
    for wider in WIDER:
        sets = list(wider)
        if all(_fits(edit, codec, sets) for edit in texts):
            rewritten = _rewritten(header.items(), codec, declared, sets)
            if rewritten is not None and not _rewritten(behind().items(), codec, declared, sets):
                return {**rewritten, SPECIFIC_CHARACTER_SET: Element("CS", wider[0].encode("ascii"))}, sets
    remedy = "a wider one would change other texts; correct it at its source"
    raise NotApplicable("charset", f"SpecificCharacterSet: does not hold the new values, and {remedy}")


def _declared_anew(edit: Edit, header: DataSet, codec: Codec) -> tuple[Changes, list[str]]:
    """Another declaration for the same bytes: only one that explains all of them."""
    sets = codec.character_sets((edit.value or "").encode("latin-1", "replace"))
    for tag, (vr, value) in header.items():
        if vr in _TEXT and isinstance(value, bytes) and not codec.decode_checked(value, vr, sets)[1]:
            raise NotApplicable("charset", f"{spelled((tag,))}: is no text of the character set to be declared")
    if not codec.known(sets):
        raise NotApplicable("charset", "SpecificCharacterSet: is to become one that is not known")
    return {SPECIFIC_CHARACTER_SET: Element("CS", "\\".join(sets).encode("ascii")) if sets else None}, sets


def _fits(edit: Edit, codec: Codec, sets: list[str]) -> bool:
    try:
        codec.encode(edit.value or "", edit.vr, sets)
    except ValueError:
        return False
    return True


def _rewritten(
    elements: Iterable[tuple[int, tuple[str, Value]]], codec: Codec, declared: list[str], sets: list[str]
) -> Changes | None:
    """The elements that the new set writes in other bytes; None if one does not come through."""
    changed: Changes = {}
    for tag, (vr, value) in elements:
        if isinstance(value, bytes):
            if vr not in _TEXT or (value.isascii() and b"\x1b" not in value):
                continue
            written = _through(value, vr, codec, declared, sets)
            if written is None:
                return None
            changed[tag] = Element(vr, written)
        else:
            items = _rewritten_items(value, codec, declared, sets)
            if items is None:
                return None
            if items:
                changed[tag] = Element(vr, items)
    return changed


def _rewritten_items(
    items: Sequence[DataSet], codec: Codec, declared: list[str], sets: list[str]
) -> list[DataSet] | None:
    """The items written anew, [] if nothing changes; an item that declares its own set stays."""
    found: list[DataSet] = []
    any_changed = False
    for item in items:
        changed = {} if SPECIFIC_CHARACTER_SET in item else _rewritten(item.items(), codec, declared, sets)
        if changed is None:
            return None
        any_changed |= bool(changed)
        found.append({**item, **{tag: element for tag, element in changed.items() if element is not None}})
    return found if any_changed else []


def _through(value: bytes, vr: str, codec: Codec, declared: list[str], sets: list[str]) -> bytes | None:
    """The value in the new set, if its text is certain and leads back to the same bytes."""
    text, faithful = codec.decode_checked(value, vr, declared)
    try:
        if faithful and codec.encode(text, vr, declared) == value.rstrip(b" \0"):
            return codec.encode(text, vr, sets)
    except ValueError:
        pass
    return None


# -- what is written down --


def _recorded(patch: Patch, header: DataSet, touched: Mapping[int, Reason]) -> Changes:
    """Original Attributes Sequence, Instance Coercion DateTime and Contributing Equipment Sequence."""
    at = f"{patch.at:%Y%m%d%H%M%S}.{patch.at.microsecond:06}{patch.at:%z}"[:26].encode("ascii")
    always = {SPECIFIC_CHARACTER_SET} & touched.keys() | {_COERCED_AT} & header.keys()
    made = [
        _original(patch, header, reason, {tag for tag in touched if touched[tag] is reason} | always, at)
        for reason in sorted(set(touched.values()))
    ]
    return {
        _COERCED_AT: Element("DT", at),
        _EQUIPMENT: Element("SQ", [*_items(header, _EQUIPMENT), _equipment(at)]),
        _ORIGINAL: Element("SQ", [*_items(header, _ORIGINAL), *made]),
    }


def _items(header: DataSet, tag: int) -> Sequence[DataSet]:
    element = header.get(tag)
    if element is not None and isinstance(element[1], bytes) and element[1]:
        raise NotApplicable("not-a-sequence", f"{spelled((tag,))}: holds no items; it is left as it came")
    return () if element is None or isinstance(element[1], bytes) else element[1]


def _original(patch: Patch, header: DataSet, reason: Reason, tags: set[int], at: bytes) -> DataSet:
    """An item of the Original Attributes Sequence (0400,0561)."""
    before = {tag: header.get(tag) for tag in sorted(tags | ({_ISSUER} if _PATIENT_ID in tags else set()))}
    broken = {
        tag: old[1] for tag, old in before.items() if old and isinstance(old[1], bytes) and fault_of(old[1], old[0])
    }
    item: dict[int, tuple[str, Value]] = {
        0x04000550: Element("SQ", [{tag: _prior(tag, None if tag in broken else old) for tag, old in before.items()}]),
        0x04000562: Element("DT", at),
        0x04000563: Element("LO", patch.system.encode("ascii", "replace")[:64]),
        0x04000564: Element("LO", b""),
        0x04000565: Element("CS", reason.encode("ascii")),
    }
    if broken:
        item[0x04000551] = Element("SQ", [_nonconforming(tag, value) for tag, value in broken.items()])
    return item


def _prior(tag: int, old: tuple[str, Value] | None) -> tuple[str, Value]:
    """The element as it was, or empty."""
    vr = dictionary_VR(tag)
    return old if old is not None else Element(vr, [] if vr == "SQ" else b"")


def _nonconforming(tag: int, value: bytes) -> DataSet:
    """Selector Attribute, Selector Value Number (0: all of them), Nonconforming Data Element Value."""
    return {
        0x00720026: Element("AT", (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")),
        0x00720028: Element("US", b"\0\0"),
        0x04000552: Element("OB", value),
    }


def _equipment(at: bytes) -> DataSet:
    """Us, by what we did: CID 7005, Modifying Equipment."""
    purpose = {0x00080100: Element("SH", b"109103"), 0x00080102: Element("SH", b"DCM")}
    return {
        0x00080070: Element("LO", b"Modality Gateway"),
        0x0018A002: Element("DT", at),
        0x0018A003: Element("ST", b"Header checked against its order"),
        0x0040A170: Element("SQ", [purpose | {0x00080104: Element("LO", b"Modifying Equipment")}]),
    }
