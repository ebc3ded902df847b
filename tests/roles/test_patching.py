"""Patches on whole objects: what is written down of them, character sets, and the properties that make them safe."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom import charset
from gateway.dicom.elements import (
    DEFLATED,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DataSet,
    Element,
    encode,
    parse,
)
from gateway.dicom.layout import inflate
from gateway.dicom.patching import is_denied
from gateway.domain.edits import Edit, Patch, Path
from gateway.domain.identity_model import Reason
from gateway.roles.forward.patching import Unpatchable, patched
from tests.dicom.test_patching import joined, undefined

AT = datetime(2026, 1, 2, 12, 0, 0, 250, tzinfo=timezone(timedelta(hours=1)))
NAME, PATIENT_ID, ISSUER, OTHERS, REQUESTS = 0x00100010, 0x00100020, 0x00100021, 0x00101002, 0x00400275
ORIGINAL, EQUIPMENT, COERCED, SETS = 0x04000561, 0x0018A001, 0x00080015, 0x00080005
PIXELS = encode({0x7FE00010: Element("OW", bytes(range(64)))}, EXPLICIT_LITTLE)


def edit(*path: int, value: str | None, reason: Reason = Reason.CORRECT) -> Edit:
    return Edit(path=path, value=value, reason=reason, rule="test@1")


def patch(*edits: Edit, at: datetime = AT) -> Patch:
    return Patch(edits=edits, at=at, system="north-ct1")


def apply(dataset: DataSet, *edits: Edit, at: datetime = AT) -> DataSet:
    source = encode(dataset, EXPLICIT_LITTLE) + PIXELS
    made = joined(source, patched(source, EXPLICIT_LITTLE, patch(*edits, at=at)))
    assert made.endswith(PIXELS)
    return parse(made[: -len(PIXELS)], EXPLICIT_LITTLE)


def items(dataset: DataSet, tag: int) -> list[DataSet]:
    value = dataset[tag].value
    assert isinstance(value, list)
    return value


HEADER: DataSet = {
    SETS: Element("CS", b"ISO_IR 100"),
    0x00080018: Element("UI", b"1.2.3\0"),
    0x00080050: Element("SH", b"A1"),
    NAME: Element("PN", b"M\xfcller^A"),
    PATIENT_ID: Element("LO", b"P1"),
    REQUESTS: Element("SQ", [{0x0020000D: Element("UI", b"1.2\0"), 0x00400009: Element("SH", b"S1")}]),
}


def test_prior_values_keep_their_bytes_and_the_issuer_stands_beside_the_patient_id() -> None:
    made = apply(HEADER, edit(NAME, value="Meier^Ä"), edit(PATIENT_ID, value="P2"))
    assert made[NAME] == Element("PN", b"Meier^\xc4 ")
    (item,) = items(made, ORIGINAL)
    assert items(item, 0x04000550) == [{NAME: HEADER[NAME], PATIENT_ID: HEADER[PATIENT_ID], ISSUER: Element("LO", b"")}]
    assert item[0x04000562] == Element("DT", b"20260102120000.000250+0100")
    assert [item[tag].value for tag in (0x04000563, 0x04000564, 0x04000565)] == [b"north-ct1 ", b"", b"CORRECT "]
    assert made[COERCED].value == b"20260102120000.000250+0100"
    assert len(items(made, EQUIPMENT)) == 1


def test_inside_a_sequence_the_whole_prior_sequence_is_kept_and_the_rest_of_its_items() -> None:
    made = apply(HEADER, edit(REQUESTS, 0, 0x00400009, value="S2"))
    assert items(made, REQUESTS) == [{**items(HEADER, REQUESTS)[0], 0x00400009: Element("SH", b"S2")}]
    assert items(items(made, ORIGINAL)[0], 0x04000550) == [{REQUESTS: HEADER[REQUESTS]}]


def test_each_reason_has_an_item_of_its_own_behind_those_that_are_there() -> None:
    before = {**HEADER, ORIGINAL: Element("SQ", [{0x04000565: Element("CS", b"COERCE")}])}
    made = apply(before, edit(NAME, value="B^B"), edit(0x00080080, value="North", reason=Reason.COERCE))
    first, *ours = items(made, ORIGINAL)
    assert first == items(before, ORIGINAL)[0]
    assert [one[0x04000565].value for one in ours] == [b"COERCE", b"CORRECT "]
    assert [list(items(one, 0x04000550)[0]) for one in ours] == [[0x00080080], [NAME]]


def test_an_earlier_coercion_datetime_is_kept_too() -> None:
    before = {**HEADER, COERCED: Element("DT", b"20250101")}
    made = apply(before, edit(NAME, value="B^B"))
    assert items(items(made, ORIGINAL)[0], 0x04000550)[0][COERCED] == before[COERCED]


def test_a_value_that_breaks_its_vr_is_listed_empty_and_kept_as_it_was() -> None:
    before = {**HEADER, 0x00100030: Element("DA", b"1970.01.01")}
    (item,) = items(apply(before, edit(0x00100030, value="19700101")), ORIGINAL)
    assert items(item, 0x04000550) == [{0x00100030: Element("DA", b"")}]
    (broken,) = items(item, 0x04000551)
    assert broken[0x00720026].value == struct.pack("<HH", 0x0010, 0x0030)
    assert broken[0x04000552] == Element("OB", b"1970.01.01")


def test_a_sequence_can_be_replaced_by_new_items() -> None:
    before = {**HEADER, OTHERS: Element("SQ", [{PATIENT_ID: Element("LO", b"OLD ")}])}
    edits = [
        edit(OTHERS, value=None),
        edit(OTHERS, 0, PATIENT_ID, value="N1"),
        edit(OTHERS, 0, 0x00100022, value="TEXT"),
    ]
    made = apply(before, *edits)
    assert items(made, OTHERS) == [{PATIENT_ID: Element("LO", b"N1"), 0x00100022: Element("CS", b"TEXT")}]
    assert OTHERS not in apply(before, edit(OTHERS, value=None))


def test_what_changes_nothing_leaves_no_trace() -> None:
    gone = edit(OTHERS, 0, PATIENT_ID, value=None)
    assert apply(HEADER, edit(PATIENT_ID, value="P1"), edit(OTHERS, value=None), gone) == HEADER


# -- character sets --


@pytest.mark.parametrize(
    ("declared", "name", "value", "becomes"),
    [
        (b"ISO_IR 100", b"M\xfcller", "Müller^Ä", b"ISO_IR 100"),
        (b"", b"MULLER", "Müller^Ä", b"ISO_IR 100"),
        (b"", b"MULLER", "Иванов", b"ISO_IR 192"),
        (b"ISO_IR 100", b"M\xfcller", "Иванов", b"ISO_IR 192"),
        (b"ISO_IR 144", b"\xb8\xd2", "Иванов", b"ISO_IR 144"),
    ],
)
def test_the_character_set_becomes_wider_only_where_it_must(
    declared: bytes, name: bytes, value: str, becomes: bytes
) -> None:
    before = {SETS: Element("CS", declared), NAME: Element("PN", b"X"), 0x00081030: Element("LO", name)}
    made = apply(before, edit(NAME, value=value))
    assert made[SETS].value.rstrip() == becomes
    sets = charset.character_sets(becomes)
    assert charset.decode(made[NAME].value, "PN", sets) == value
    was = charset.decode(name, "LO", charset.character_sets(declared))
    assert charset.decode(made[0x00081030].value, "LO", sets) == was
    if declared != becomes:
        (prior,) = items(items(made, ORIGINAL)[0], 0x04000550)
        assert prior[SETS].value == declared


@pytest.mark.parametrize(
    ("declared", "element", "value"),
    [
        (b"ISO_IR 192", (0x00081030, Element("LO", b"\xff\xfe\xc3")), "\udc80"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 87", (0x00081030, Element("LO", b"\x1b(BABC")), "אב"),
        (b"ISO_IR 100", (0x00181030, Element("LO", b"Sch\xe4del")), "Иванов"),
        (b"ISO_IR 100", (0x00091010, Element("LO", b"Sch\xe4del")), "Иванов"),
        (b"ISO_IR 100", (0x52009230, Element("SQ", [{0x00181030: Element("LO", b"Sch\xe4del")}])), "Иванов"),
    ],
    ids=["undecodable", "no way back", "protocol", "private", "functional groups"],
)
def test_a_text_that_would_not_come_through_stops_the_wider_set(
    declared: bytes, element: tuple[int, Element], value: str
) -> None:
    before = {SETS: Element("CS", declared), NAME: Element("PN", b"X "), element[0]: element[1]}
    with pytest.raises(Unpatchable) as failed:
        apply(dict(sorted(before.items())), edit(NAME, value=value))
    assert failed.value.code in {"patch-charset", "patch-odd-object"}


def test_another_set_is_declared_for_the_same_bytes_only_if_it_explains_them() -> None:
    before = {NAME: Element("PN", b"M\xfcller")}
    made = apply(before, edit(SETS, value="ISO_IR 100", reason=Reason.COERCE))
    assert made[NAME] == before[NAME]
    with pytest.raises(Unpatchable, match="is no text of the character set"):
        apply(before, edit(SETS, value="ISO_IR 192"))


def test_a_missing_item_or_a_sequence_that_is_none_is_refused() -> None:
    with pytest.raises(Unpatchable, match="there are 1 items"):
        apply(HEADER, edit(REQUESTS, 3, 0x00400009, value="S"))
    with pytest.raises(Unpatchable):
        apply({**HEADER, REQUESTS: Element("LO", b"text")}, edit(REQUESTS, 0, 0x00400009, value="S"))


# -- properties: the deny-list, the second run, undo (worklist-orders-correction 4.6) --

SAFE = st.text("ABCab 019^-", max_size=12).map(str.strip)
WIDE = st.text("ABaäöüÉñЖИя漢字", max_size=8)
LATIN = st.text("ABaäöü", max_size=7).map(lambda text: text.encode("latin-1"))


def even(value: bytes, vr: str) -> bytes:
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)


UIDS = st.from_regex(r"1\.[1-9]{1,8}", fullmatch=True).map(lambda text: Element("UI", even(text.encode(), "UI")))
TEXTS = {
    **dict.fromkeys((0x00080050, 0x00081010, 0x00200010), "SH"),
    **dict.fromkeys((0x00080080, 0x00081030, 0x00081040, PATIENT_ID, ISSUER, 0x00380010), "LO"),
    **dict.fromkeys((NAME, 0x00080090, 0x00101005), "PN"),
}
FIXED = {
    **dict.fromkeys((0x00080020, 0x00080022), Element("DA", b"20260101")),
    0x00080060: Element("CS", b"CT"),
    0x00091010: Element("LO", b"VENDOR"),
    0x00091011: Element("OB", b"P1\0\xff"),
    0x00181000: Element("LO", b"SERIAL"),
    0x00200060: Element("CS", b"L "),
    0x00280010: Element("US", b"\x08\0"),
    0x00101030: Element("DS", b"70"),
}


@st.composite
def elements_of(draw: st.DrawFn, depth: int = 0) -> DataSet:
    found: DataSet = {}
    for tag, vr in TEXTS.items():
        if draw(st.booleans()):
            found[tag] = Element(vr, even(draw(LATIN), vr) + draw(st.sampled_from([b"", b"  "])))
    for tag, element in FIXED.items():
        if draw(st.booleans()):
            found[tag] = element
    for tag in (0x00080018, 0x0020000D, 0x00081155):
        if draw(st.booleans()):
            found[tag] = draw(UIDS)
    if depth < 2:
        for tag in (OTHERS, REQUESTS, 0x0040A370, 0x00081110) if depth == 0 else (0x00081110,):
            if draw(st.booleans()):
                found[tag] = Element("SQ", draw(st.lists(elements_of(depth=depth + 1), max_size=2)))
    return found


@st.composite
def objects(draw: st.DrawFn) -> DataSet:
    found = draw(elements_of())
    found[SETS] = Element("CS", b"ISO_IR 100")
    if draw(st.booleans()):
        found[ORIGINAL] = Element("SQ", [{0x04000550: Element("SQ", [{NAME: Element("PN", b"EARLIER ")}])}])
    return dict(sorted(found.items()))


PATHS: tuple[Path, ...] = (
    *((tag,) for tag in TEXTS),
    (OTHERS,),
    *((OTHERS, 0, tag) for tag in (PATIENT_ID, ISSUER)),
    *((REQUESTS, 0, tag) for tag in (0x00080050, 0x00400009, 0x00401001)),
    (0x0040A370, 0, 0x00080050),
)
EDITS = st.lists(
    st.builds(
        lambda path, value, reason: edit(*path, value=None if path == (OTHERS,) else value, reason=reason),
        st.sampled_from(PATHS),
        st.one_of(st.none(), SAFE, WIDE),
        st.sampled_from(Reason),
    ),
    max_size=6,
)


def with_undefined_lengths(dataset: DataSet) -> bytes:
    """Explicit VR LE with sequences and items of undefined length at every depth."""
    return b"".join(
        undefined([with_undefined_lengths(item) for item in element.value], tag)
        if isinstance(element.value, list)
        else encode({tag: element}, EXPLICIT_LITTLE)
        for tag, element in sorted(dataset.items())
    )


def written(dataset: DataSet, form: str) -> tuple[bytes, str]:
    if form == "undefined":
        return with_undefined_lengths(dataset) + PIXELS, EXPLICIT_LITTLE
    if form == "implicit":
        return encode(dataset | {0x7FE00010: Element("OW", bytes(64))}, IMPLICIT_LITTLE), IMPLICIT_LITTLE
    return encode(dataset, EXPLICIT_LITTLE) + PIXELS, EXPLICIT_LITTLE


FORMS = st.sampled_from(["defined", "undefined", "implicit"])


def denied_of(dataset: DataSet, at: tuple[int, ...] = ()) -> dict[tuple[int, ...], Element]:
    """Every element that must leave as it came, at every depth; by its path."""
    found: dict[tuple[int, ...], Element] = {}
    for tag, element in dataset.items():
        if at == () and tag in (ORIGINAL, EQUIPMENT, COERCED):
            continue
        if isinstance(element.value, list):
            for number, item in enumerate(element.value):
                found |= denied_of(item, (*at, tag, number))
        elif is_denied(tag):
            found[*at, tag] = element
    return found


@given(objects(), EDITS, FORMS)
def test_what_must_never_change_has_the_same_bytes_before_and_after(
    dataset: DataSet, edits: list[Edit], form: str
) -> None:
    source, syntax = written(dataset, form)
    try:
        made = joined(source, patched(source, syntax, patch(*edits)))
    except Unpatchable:
        return
    assert denied_of(parse(made, syntax)) == denied_of(parse(source, syntax))


@given(objects(), EDITS, FORMS)
def test_a_second_run_changes_nothing(dataset: DataSet, edits: list[Edit], form: str) -> None:
    source, syntax = written(dataset, form)
    try:
        made = joined(source, patched(source, syntax, patch(*edits)))
    except Unpatchable:
        return
    later = patch(*edits, at=AT + timedelta(days=1))
    assert joined(made, patched(made, syntax, later)) == made


@given(objects(), EDITS, FORMS)
def test_undo_restores_the_bytes_of_every_value(dataset: DataSet, edits: list[Edit], form: str) -> None:
    """From what is written down in the object alone; in the box undo is dropping the patch."""
    source, syntax = written(dataset, form)
    try:
        made = parse(joined(source, patched(source, syntax, patch(*edits))), syntax)
    except Unpatchable:
        return
    before = parse(source, syntax)
    restored = undone(made, before)
    if before[SETS] != made[SETS]:  # what was written in the wider set has its bytes, but not all its padding
        assert bare(restored) == bare({tag: element for tag, element in before.items() if not is_empty(element)})
        return
    assert restored == {tag: element for tag, element in before.items() if not is_empty(element)}


def bare(dataset: DataSet) -> DataSet:
    return {
        tag: Element(vr, value.rstrip(b" ") if isinstance(value, bytes) else [bare(item) for item in value])
        for tag, (vr, value) in dataset.items()
    }


def undone(made: DataSet, before: DataSet) -> DataSet:
    """The object as its Original Attributes Sequence says it was; an empty value there may have been none."""
    ours = (
        []
        if ORIGINAL not in made
        else items(made, ORIGINAL)[len(items(before, ORIGINAL)) if ORIGINAL in before else 0 :]
    )
    restored = {tag: element for tag, element in made.items() if tag not in (COERCED, EQUIPMENT, ORIGINAL)}
    for item in ours:
        restored |= items(item, 0x04000550)[0]
    if ORIGINAL in before:
        restored[ORIGINAL] = Element("SQ", items(made, ORIGINAL)[: len(items(before, ORIGINAL))])
    if restored[SETS] != made[SETS]:  # the others were written in the wider set
        now = charset.character_sets(made[SETS].value)  # type: ignore[arg-type]
        listed = {tag for item in ours for tag in items(item, 0x04000550)[0]}
        restored = {tag: element if tag in listed else narrowed(element, now) for tag, element in restored.items()}
    return {tag: element for tag, element in restored.items() if not is_empty(element)}


def narrowed(element: Element, sets: list[str]) -> Element:
    if isinstance(element.value, list):
        return Element("SQ", [{tag: narrowed(one, sets) for tag, one in item.items()} for item in element.value])
    if element.vr not in {"SH", "LO", "PN"}:
        return element
    text = charset.decode(element.value, element.vr, sets)
    return Element(element.vr, even(charset.encode(text, element.vr, ["ISO_IR 100"]), element.vr))


def is_empty(element: Element) -> bool:
    return not element.value or (isinstance(element.value, bytes) and not element.value.strip())


def test_a_deflated_object_is_deflated_again() -> None:
    import zlib

    whole = encode(HEADER, EXPLICIT_LITTLE) + PIXELS
    deflating = zlib.compressobj(wbits=-15)
    source = deflating.compress(whole) + deflating.flush()
    made = joined(source, patched(source, DEFLATED, patch(edit(PATIENT_ID, value="P2"))))
    plain = inflate(made, limit=1 << 20)
    assert plain.endswith(PIXELS)
    assert parse(plain[: -len(PIXELS)], EXPLICIT_LITTLE)[PATIENT_ID].value == b"P2"
    assert len(made) % 2 == 0


def test_the_same_patch_gives_the_same_bytes_each_time() -> None:
    source = encode(HEADER, EXPLICIT_LITTLE) + PIXELS
    one = patch(edit(NAME, value="B^B"), at=datetime(2026, 1, 2, tzinfo=UTC))
    assert patched(source, EXPLICIT_LITTLE, one) == patched(source, EXPLICIT_LITTLE, one)
