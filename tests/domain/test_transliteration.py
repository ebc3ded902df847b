"""Names in the letters that a scanner can show."""

# ruff: noqa: RUF001 -- letters of other alphabets are what this is about

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.keys import fold
from gateway.domain.transliteration import LETTERS, Script, fold_latin, transliterate

BOTH = frozenset(Script)


def latin_1(text: str) -> bool:
    return all(ord(c) < 0x100 for c in text)


def japanese(text: str) -> bool:
    """ISO 2022 IR 87: full width kana and kanji, no half width ones."""
    try:
        return bool(text.encode("iso2022_jp") or True)
    except UnicodeError:
        return False


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("MULLER^ANNE", "MULLER^ANNE"),
        ("Müller^Änne", "Muller^Anne"),
        ("Mu\u0308ller", "Muller"),
        ("Łukasz^Ærø", "Lukasz^Aero"),
        ("ÆRØ^GROẞ", "AERO^GROSS"),
        ("Straße", "Strasse"),
        ("Đorđević^Þór", "Dordevic^Thor"),
        ("İpek^Işık", "Ipek^Isik"),
        ("Nguyễn", "Nguyen"),
        ("\ufb03", "ffi"),
        ("O\u2019Brien \u2013 \u201cX\u201d\u2026", 'O\'Brien - "X"...'),
        ("A\u00a0B\u200b\ufeff", "A B"),
        ("Ａｂ１", "Ab1"),
        ("№ ½", "No 1/2"),
    ],
)
def test_latin_letters_and_punctuation_in_ascii(text: str, plain: str) -> None:
    assert fold_latin(text) == plain


def test_what_the_set_holds_is_kept_and_the_rest_takes_the_nearest_form() -> None:
    assert fold_latin("Müller^Łucja", latin_1) == "Müller^Lucja"
    assert fold_latin("Nguyễn ǘ ǿ Mu\u0308", latin_1) == "Nguyên ü ø Mü"
    assert fold_latin("山田^ﾀﾛｳ ﾔﾏﾀﾞ", japanese) == "山田^タロウ ヤマダ"
    assert fold_latin("Łucja 山田", lambda _: True) == "Łucja 山田"


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("Соколова^Вера", "Sokolova^Vera"),
        ("ЩУКИН^Юлия", "SHCHUKIN^Iuliia"),
        ("Щукин^Алёна", "Shchukin^Alena"),
        ("Мельник^Олена Є", "Melnik^Olena Ie"),
        ("Љубица^Ђорђе", "Ljubitsa^Dorde"),
        ("Ѝ и\u0301", "I i"),
        ("Παπαδόπουλος^Γιώργος", "Papadopoulos^Giorgos"),
        ("Ευάγγελος^Αύγουστος", "Evangelos^Avgoustos"),
        ("Μπάμπης^Ταϋγέτη", "Bampis^Taygeti"),
        ("ΕΥΑ^ΛΕΥΤΕΡΗΣ", "EVA^LEFTERIS"),
        ("Άυλος^Χαράλαμπος", "Aylos^Charalampos"),
    ],
)
def test_other_scripts_by_their_standard(text: str, latin: str) -> None:
    shown = transliterate(text, scripts=BOTH)
    assert (shown.text, shown.folded, shown.fits) == (latin, False, True)
    assert len(shown.romanised) == 1


def test_other_scripts_are_left_alone_unless_asked_for() -> None:
    shown = transliterate("Müller^Вера")
    assert shown == ("Muller^Вера", True, frozenset(), False)
    assert transliterate("Müller^Вера", scripts=[Script.GREEK]).text == "Muller^Вера"
    assert transliterate("Müller^Вера", latin_1, scripts=BOTH) == ("Müller^Vera", False, {Script.CYRILLIC}, True)
    assert transliterate("Анна 山", scripts=BOTH) == ("Anna 山", False, {Script.CYRILLIC}, False)


def test_what_the_set_holds_is_not_romanised() -> None:
    def cyrillic(text: str) -> bool:
        return all(c.isascii() or 0x400 <= ord(c) < 0x460 for c in text)

    assert transliterate("Вера^Łucja Ελένη", cyrillic, scripts=BOTH).text == "Вера^Lucja Eleni"


@pytest.mark.parametrize("text", ["\uff1f", "\uff0a", "\uff3c", "\uff1d", "\uff3e", "≠", "\u037e\u2048"])
def test_no_wildcard_and_no_delimiter_appears(text: str) -> None:
    assert not re.search(r"[\\^=?*]", fold_latin(text))


def test_work_is_proportional_to_the_text() -> None:
    """A scanner's answer waits for it, and a RIS chose the text."""

    def asked(text: str) -> int:
        count = 0

        def holds(part: str) -> bool:
            nonlocal count
            count += len(part)
            return part.isascii()

        transliterate(text, holds, scripts=BOTH)
        return count

    for part in ("\u0301", "検査", "Żołądek ü", "Щука "):
        assert asked("a" + part * 1000) <= 15 * asked("a" + part * 100) + 1000


def test_accents_without_a_letter_are_dropped() -> None:
    assert fold_latin("\u0301a" + "\u0301" * 40 + "b") == "ab"


texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("äßŁǿ\u0301Юїγγυμπ山ｶﾞﾀ’–^=", max_size=12)
sets = st.sampled_from([str.isascii, latin_1, japanese])


@given(texts, sets)
def test_delimiters_stay_and_nothing_stands_for_what_was_lost(text: str, holds: object) -> None:
    assert callable(holds)
    shown = transliterate(text, holds, scripts=BOTH)
    for mark in "\\^=?*\n\x1b":
        assert shown.text.count(mark) == text.count(mark)
    assert "\ufffd" not in shown.text.replace("\ufffd", "", text.count("\ufffd"))
    assert shown.fits == holds(shown.text)
    assert (shown.text == text) == (not shown.folded and not shown.romanised)
    if holds(text):
        assert shown == (text, False, frozenset(), True)


@given(st.text("aÄßéŁŒøĳﬁǿ\u0301’–“ẞİı ^", max_size=10))
def test_a_latin_name_is_found_by_the_form_that_was_shown(name: str) -> None:
    assert fold(fold_latin(name)) == fold(name)


def test_every_letter_of_latin_script_with_an_accent_becomes_plain() -> None:
    for code in range(0xC0, 0x250):
        letter = chr(code)
        if unicodedata.normalize("NFD", letter)[0].isascii() or letter.lower() in LETTERS:
            assert fold_latin(letter).isascii(), hex(code)
