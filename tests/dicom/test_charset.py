"""Character sets: the examples of PS3.5 annexes H, I, J and K, round trips, and what devices get wrong."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicom.charset import CharsetError, character_sets, decode, decode_checked, encode

JAPANESE = ["", "ISO 2022 IR 87"]
KATAKANA = ["ISO 2022 IR 13", "ISO 2022 IR 87"]
KOREAN = ["", "ISO 2022 IR 149"]
CHINESE = ["", "ISO 2022 IR 58"]

STANDARD = [
    (  # H.3.1
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        JAPANESE,
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (  # H.3.2
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        KATAKANA,
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (  # I.2
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        KOREAN,
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=", ["ISO_IR 192"], "Wang^XiaoDong=王^小東="),  # J.1
    (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", ["GB18030"], "Wang^XiaoDong=王^小东="),  # J.3
    (b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", ["GBK"], "Wang^XiaoDong=王^小东="),
    (b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", CHINESE, "Zhang^XiaoDong=张^小东="),  # K.2
    (b"Buc^J\xe9r\xf4me", ["ISO_IR 100"], "Buc^Jérôme"),
    (b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", ["ISO_IR 144"], "Люкceмбypг"),  # noqa: RUF001
    (b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", ["ISO_IR 126"], "Διονυσιος"),
    (b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", ["ISO_IR 13"], "ﾔﾏﾀﾞ^ﾀﾛｳ"),
]


@pytest.mark.parametrize(("value", "names", "text"), STANDARD)
def test_the_examples_of_the_standard_are_read_and_written_to_the_byte(
    value: bytes, names: list[str], text: str
) -> None:
    assert decode_checked(value, "PN", names) == (text, True)
    assert encode(text, "PN", names) == value


SETS = [
    [],
    ["ISO_IR 100"],
    ["ISO_IR 101"],
    ["ISO_IR 13"],
    ["ISO_IR 192"],
    ["GB18030"],
    JAPANESE,
    KATAKANA,
    KOREAN,
    CHINESE,
    ["ISO 2022 IR 100", "ISO 2022 IR 144"],
    ["", "ISO 2022 IR 87", "ISO 2022 IR 159"],
    ["NO SUCH SET"],
]
letters = st.text(st.sampled_from("ab ^=\\\n~é Łλж山丂ﾀ홍王\x1b$B(J\x00☃"), max_size=12) | st.text(max_size=12)


@pytest.mark.parametrize("vr", ["PN", "LO", "ST", "UI"])
@pytest.mark.parametrize("names", SETS, ids="-".join)
@given(letters)
def test_what_is_written_is_read_or_was_refused(names: list[str], vr: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encoded = encode(text, vr, names)
        except CharsetError:
            assert text
        else:
            assert decode_checked(encoded, vr, names) == (text.rstrip(" \0"), True)


@pytest.mark.parametrize("names", SETS, ids="-".join)
@given(st.lists(st.sampled_from([b"\x1b", b"$B", b"$)C", b"(B", b"-A", b"^", b"\\", b"a", b"\xc1\xe9"])).map(b"".join))
def test_any_bytes_become_text_without_replacement_characters(names: list[str], value: bytes) -> None:
    assert "\ufffd" not in decode(value, "PN", names)


@pytest.mark.parametrize(
    ("value", "names", "text"),
    [
        ("Müller".encode(), [], "Müller"),
        ("Müller".encode("latin-1"), [], "Müller"),
        ("Müller".encode(), ["NO SUCH SET"], "Müller"),
        ("Müller".encode("latin-1"), ["ISO_IR 192"], "Müller"),
        ("홍".encode("euc_kr"), ["ISO 2022 IR 149"], "홍"),
        (b"\x1b$)C\xc8\xab^\xb1\xe6", KOREAN, "홍^길"),  # not designated again behind the delimiter
        (b"\x1b$B;3ED\x1b(B", [], "山田"),
        (b"\x1b-A\xe9", ["ISO_IR 101"], "é"),
        (b"a\x1bb", ["ISO_IR 100"], "ab"),
    ],
)
def test_what_does_not_fit_its_declaration_is_guessed_and_said_to_be(value: bytes, names: list[str], text: str) -> None:
    assert decode_checked(value, "PN", names) == (text, False)


@pytest.mark.parametrize("name", ["ISO_IR 100", "ISO-IR 100", "ISO IR 100", "iso_ir_100", " ISO_IR 100 "])
def test_misspelled_terms_are_known(name: str) -> None:
    assert decode_checked(b"J\xe9", "PN", [name]) == ("Jé", True)


def test_backslash_and_caret_inside_two_byte_characters_are_no_delimiters() -> None:
    for text in ("予約", "構", "ー"):  # their JIS and GB 18030 bytes contain 0x5C, 0x5E or 0x3D
        for names in (JAPANESE, ["GB18030"]):
            assert decode_checked(encode(text, "PN", names), "PN", names) == (text, True)


def test_only_text_depends_on_the_character_set() -> None:
    assert decode_checked("é".encode("iso8859_2"), "CS", ["ISO_IR 101"]) == ("é", False)
    with pytest.raises(CharsetError):
        encode("é", "CS", ["ISO_IR 192"])


def test_padding_is_taken_off() -> None:
    assert decode(b" A \0", "LO", []) == " A"
    assert decode(b"1.2\0", "UI", []) == "1.2"


def test_a_refusal_names_the_set_and_not_the_text() -> None:
    with pytest.raises(CharsetError) as caught:
        encode("Соколова", "PN", ["ISO_IR 100"])
    assert "ISO_IR 100" in str(caught.value)
    assert "Соколова" not in str(caught.value)


def test_the_declaration_is_split() -> None:
    assert character_sets(b"\\ISO 2022 IR 87 ") == JAPANESE
    assert character_sets(b"ISO_IR 192") == ["ISO_IR 192"]
    assert character_sets(b" ") == []


def test_a_declaration_of_many_sets_or_of_a_long_one_is_cut() -> None:
    """Found by `make fuzz`: each value of a data set was held against each of its thousands of character sets."""
    flood = b"\\".join([b"ISO 2022 IR 87"] * 4000)
    assert character_sets(flood) == ["ISO 2022 IR 87"] * 16
    assert sum(map(len, character_sets(b"I" * 1_000_000))) < 1000
    assert character_sets(b"ISO_IR 100" + b" " * 5000) == ["ISO_IR 100"]


def test_work_is_proportional_to_the_text() -> None:
    """The declaration is read once for a text, not for every component of it."""
    names = ["ISO 2022 IR 100", "ISO 2022 IR 144", "ISO 2022 IR 87"]
    few, many = (calls(lambda size=size: encode("\u00c4\\" * size, "LO", names)) for size in (10, 1000))  # type: ignore[misc]
    assert many < 120 * few
    assert many < 60 * 1000


def calls(work: object) -> int:
    """Function calls that `work` makes: what it costs, on any machine."""
    count = 0

    def seen(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    assert callable(work)
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
