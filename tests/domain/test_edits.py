"""Edits as data: what can be said, what can't, and that the books give back what was put into them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.domain.edits import EDITABLE, Edit, Patch, Path, from_json, path_of, spelled, to_json
from gateway.domain.identity_model import Reason

AT = datetime(2026, 1, 2, 12, 0, 0, 250, tzinfo=UTC)


def edit(*path: int, value: str | None = "X") -> Edit:
    return Edit(path=path, value=value, reason=Reason.CORRECT, rule="test@1")


def leaves() -> st.SearchStrategy[Path]:
    """Every path that ends in an attribute with a value."""

    def below(tree: dict[int, object], before: Path) -> list[st.SearchStrategy[Path]]:
        found: list[st.SearchStrategy[Path]] = []
        for tag, inner in tree.items():
            if inner:
                items = below(inner, ())  # type: ignore[arg-type]
                found.append(st.builds(lambda i, p, t=tag: (*before, t, i, *p), st.integers(0, 99), st.one_of(items)))
            else:
                found.append(st.just((*before, tag)))
        return found

    return st.one_of(below(EDITABLE, ()))  # type: ignore[arg-type]


@given(leaves())
def test_a_path_is_read_as_it_was_spelled(path: Path) -> None:
    assert path_of(spelled(path)) == path


@given(st.lists(leaves(), max_size=5), st.one_of(st.none(), st.text(max_size=20)))
def test_the_books_give_back_what_was_put_into_them(paths: list[Path], value: str | None) -> None:
    edits = tuple(Edit(path=path, value=value, before="b", reason=Reason.COERCE, rule="r@2") for path in paths)
    patch = Patch(edits=edits, at=AT, system="north-ct1")
    assert from_json(to_json(patch)) == patch


def test_spelling_is_that_of_dcmodify_and_the_name_that_of_the_standard() -> None:
    one = edit(0x00400275, 0, 0x00400009)
    assert spelled(one.path) == "(0040,0275)[0].(0040,0009)"
    assert one.name == "RequestAttributesSequence[1].ScheduledProcedureStepID"
    assert one.vr == "SH"


@pytest.mark.parametrize(
    "path",
    [
        *((tag,) for tag in (0x00080018, 0x0020000D, 0x7FE00010, 0x00080060, 0x00200060, 0x00181000, 0x00080020)),
        *((tag,) for tag in (0x00091001, 0x04000561, 0xFFFAFFFA, 0x00120062, 0x00080022, 0x00101030)),
        (0x00400275, 0, 0x0020000D),
        (0x00400275, 100, 0x00400009),
        (0x00100020, 0),
        (),
    ],
    ids=spelled,
)
def test_what_may_not_be_corrected_can_not_be_said(path: Path) -> None:
    with pytest.raises(ValueError, match=r"may not be corrected"):
        edit(*path)


def test_a_sequence_has_no_value_but_can_be_taken_out() -> None:
    with pytest.raises(ValueError, match="no value of its own"):
        edit(0x00101002)
    assert edit(0x00101002, value=None).vr == "SQ"


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole["edits"][0].update(path="(0008,0018)"),
        lambda whole: whole["edits"][0].update(path="(0010,0020"),
        lambda whole: whole["edits"][0].update(value=7),
        lambda whole: whole["edits"][0].update(reason="GUESS"),
        lambda whole: whole["edits"][0].pop("rule"),
        lambda whole: whole.update(at="2026-01-02T12:00:00"),
        lambda whole: whole.update(edits=whole["edits"] * 501),
    ],
)
def test_a_damaged_patch_is_not_read(damage: object) -> None:
    whole = json.loads(to_json(Patch(edits=(edit(0x00100020),), at=AT, system="s")))
    damage(whole)  # type: ignore[operator]
    with pytest.raises(ValueError, match=r".+"):
        from_json(json.dumps(whole))


def test_everything_editable_is_text_of_the_dictionary() -> None:
    def vrs(tree: dict[int, object]) -> set[str]:
        found = {dictionary_VR(tag) for tag in tree}
        return found.union(*(vrs(inner) for inner in tree.values() if inner))  # type: ignore[arg-type]

    assert vrs(EDITABLE) <= {"CS", "LO", "ST", "PN", "SH", "UT", "DA", "TM", "SQ"}  # type: ignore[arg-type]
    assert all(keyword_for_tag(tag) for tag in EDITABLE)
