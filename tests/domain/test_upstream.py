"""What we ask a RIS."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, cast

import pydicom.datadict
import pytest

from gateway.dicom import elements
from gateway.domain.matching import compile_query
from gateway.domain.upstream import RETURN_KEYS, Keys, refresh_identifier, widen
from gateway.domain.worklist import DataSet, items
from tests.domain.rows import dataset, query, row, utf8

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 0x00400100


def flat(keys: Keys) -> Iterator[tuple[int, str]]:
    for tag, vr in keys.items():
        yield tag, "SQ" if not isinstance(vr, str) else vr
        if not isinstance(vr, str):
            yield from flat(vr)


@pytest.mark.parametrize(("tag", "vr"), sorted(set(flat(RETURN_KEYS))))
def test_the_keys_have_the_dictionary_s_vr(tag: int, vr: str) -> None:
    assert pydicom.datadict.dictionary_VR(tag) == vr


def test_a_refresh_asks_for_everything_in_its_days() -> None:
    asked = refresh_identifier(date(2026, 7, 5), date(2026, 7, 8))
    compiled = compile_query(asked, utf8)
    assert (compiled.prefilter.date_from, compiled.prefilter.date_to) == (date(2026, 7, 5), date(2026, 7, 8))
    assert not compiled.is_patient_based
    for stored in (row(), row({"_00400003": "", "_00400001": ""}, _00100010="", _00080050="")):
        assert compiled.matches(stored, utf8)
    assert not compiled.matches(row({"_00400002": "20260709"}), utf8)


def test_a_refresh_can_be_encoded() -> None:
    asked = cast("elements.DataSet", refresh_identifier(date(2026, 7, 5), date(2026, 7, 8)))
    for syntax in (elements.IMPLICIT_LITTLE, elements.EXPLICIT_LITTLE):
        wire = elements.encode(asked, syntax)
        assert elements.encode(elements.parse(wire, syntax), syntax) == wire
        assert compile_query(elements.parse(wire, syntax), utf8) == compile_query(asked, utf8)


def test_a_widened_query_keeps_its_keys_and_asks_for_all_of_ours() -> None:
    asked = query({"_00400001": "CT1 ", "_00400002": "2026.07.06"}, _00100010="M*", _00080050="A1", _00101040="")
    wide = widen(asked)
    assert set(wide) == set(RETURN_KEYS) | {0x00101040}
    assert (wide[0x00100010], wide[0x00080050]) == (("PN", b"M*"), ("SH", b"A1"))
    (step,) = items(wide, STEPS)
    assert (step[0x00400001], step[0x00400002]) == (("AE", b"CT1"), ("DA", b"20260706"))
    assert {0x00400009, 0x00400020, 0x00400008} <= set(step)


@pytest.mark.parametrize(
    ("tag", "key", "sent"),
    [
        ("_00080060", "ct", b"CT"),
        ("_00080060", "CT\\MR", b""),
        ("_00400001", "CT*", b""),
        ("_00400002", "00000000", b""),
        ("_00400002", "2026.07.01-", b"20260701-"),
        ("_00400002", "19000101-99991231", b""),
        ("_00400002", "soon", b"soon"),
        ("_00400003", "000000-235959", b""),
        ("_00400003", "10:00:00-18:00:00", b"100000-180000"),
    ],
)
def test_forms_only_we_understand_are_not_sent(tag: str, key: str, sent: bytes) -> None:
    (step,) = items(widen(query({tag: key})), STEPS)
    assert step[int(tag[1:], 16)][1] == sent


@pytest.mark.parametrize("steps", [[], [{}], [dataset(_00080060="CT"), dataset(_00080060="MR")]])
def test_steps_are_always_asked_for_in_one_item(steps: list[DataSet]) -> None:
    (step,) = items(widen(dataset(_00400100=steps)), STEPS)
    assert step[0x00080060][1] == b""
    assert 0x00400009 in step


def test_what_has_no_place_in_a_worklist_query_is_left_out() -> None:
    assert set(widen(dataset(_00080052="STUDY", _00080000="0"))) == set(RETURN_KEYS)


def test_the_query_s_character_set_goes_with_its_values() -> None:
    assert widen(dataset(_00080005="ISO_IR 192", _00100010="Ä*"))[0x00080005] == ("CS", b"ISO_IR 192")


def test_bytes_of_any_kind_are_widened() -> None:
    for byte in range(256):
        widen({0x00080060: ("CS", bytes([byte])), STEPS: ("SQ", [{0x00400002: ("DA", bytes([byte]))}])})
