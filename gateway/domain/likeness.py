"""How a value of a header stands to the value of an order: equal, a slip, or another person's.

Promises
- Numbers are equal in canonical form: padding and case don't count, everything else does (a leading zero, a check
  digit, a prefix). Two numbers of two named issuers are never equal.
- What could tell two people apart is never a slip: another given name, a birth date a decade or more away, or
  more differences than one hand makes at once. Twins, siblings, father and son stay `DIFFERENT`.
- A name that says that nobody knows the name ("UNKNOWN^MALE 7") is no name.

A slip is what typing, a short field on a console or another alphabet makes of a value; it is no proof of anything.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.domain.identity_model import Relation
from gateway.domain.keys import fold
from gateway.domain.order_model import Identifier, PatientKey
from gateway.domain.transliteration import Script, transliterate
from gateway.domain.worklist import date_of

_PARTS: Final = re.compile(r"[^\W_]+")
_RUNS: Final = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]+")
"""Letters of ASCII, and others."""
_NOBODY: Final = frozenset({
    "unknown", "unidentified", "unbekannt", "inconnu", "inconnue", "desconocido", "desconocida", "sconosciuto",
    "sconosciuta", "neznamy", "nn", "noname", "emergency", "notfall", "trauma", "patient", "name", "female", "male",
    "man", "woman", "mann", "frau", "weiblich", "maennlich", "f", "m", "w", "x",
})  # fmt: skip
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "ß": "ss"})
_NO_BIRTH: Final = frozenset({"19000101", "18000101", "11111111", "00000000", "99999999"})
"""What consoles and registries write for "not known"."""
_FIELDS: Final = frozenset({16, 20, 24, 30, 32, 40, 60, 64})
"""Lengths to which consoles cut a name."""
_GUESSES: Final = (
    "utf-8",
    "cp1251",
    "iso8859_5",
    "iso8859_7",
    "iso8859_2",
    "iso8859_9",
    "gb18030",
    "euc_kr",
    "shift_jis",
)
"""What text that was read as Latin-1 may have been."""


def canonical(value: str) -> str:
    """A number as it is compared."""
    return value.strip(" \0").casefold()


def same_issuer(one: Identifier, other: Identifier) -> bool:
    """False only if both name an issuer and these differ; a local name and a universal id can't be compared."""
    for mine, theirs in ((one.authority, other.authority), (one.universal_id, other.universal_id)):
        if mine and theirs and canonical(mine) != canonical(theirs):
            return False
    return True


def same_number(one: Identifier, other: Identifier) -> bool:
    """Whether both are given and can be one number."""
    return bool(one.value) and canonical(one.value) == canonical(other.value) and same_issuer(one, other)


def is_number_of(has: Identifier, key: PatientKey) -> bool:
    """Whether a number of a header can be this one of the books, which have one name for its issuer."""
    if not has.value or canonical(has.value) != canonical(key.PatientID):
        return False
    issuers = {canonical(name) for name in (has.authority, has.universal_id) if name}
    return not issuers or not key.issuer or canonical(key.issuer) in issuers


def same_patient(one: PatientKey, other: PatientKey) -> bool:
    """Whether both can name one patient; a key without a number names nobody."""
    if not one.PatientID or not other.PatientID:
        return False
    folded = (PatientKey(*map(canonical, key)) for key in (one, other))
    return next(folded).may_be(next(folded))


def number(has: Identifier, expected: Identifier, *, others: Iterable[Identifier] = ()) -> Relation:
    """A number of the header against that of the order; `others` are numbers of the same thing."""
    if not canonical(has.value):
        return Relation.MISSING
    if same_number(has, expected):
        return Relation.EQUAL
    if any(same_number(has, other) for other in others):
        return Relation.ALIAS
    if not expected.value:
        return Relation.UNKNOWN
    one, other = canonical(has.value), canonical(expected.value)
    slipped = one != other and len(other) >= 5 and distance(one, other, limit=1) <= 1
    return Relation.SLIP if slipped and same_issuer(has, expected) else Relation.DIFFERENT


# -- names --


@functools.lru_cache(maxsize=4096)
def name_words(name: str) -> tuple[tuple[str, ...], ...]:
    """The forms a name may be compared in: for each component group its words, as written and in Latin letters."""
    forms = []
    for group in name.split("="):
        if not group.strip("^ "):
            continue
        latin = transliterate(group, scripts=tuple(Script)).text if not group.isascii() else group
        forms += [fold(group), fold(latin), fold(group.lower().translate(_UMLAUTS))]
    words = (tuple(_PARTS.findall(form.replace("'", ""))) for form in forms)
    return tuple(dict.fromkeys(filter(None, words)))


def is_nobody(name: str) -> bool:
    """Whether it is no person's name: empty, or nothing but words for "unknown" and numbers."""
    return all(word in _NOBODY or any(map(str.isdigit, word)) for form in name_words(name) for word in form)


def name(has: str, expected: str) -> Relation:
    """PatientName of the header against the order's."""
    if is_nobody(expected):
        return Relation.EQUAL if has == expected else Relation.UNKNOWN
    if is_nobody(has):
        return Relation.MISSING
    here, there = name_words(has), name_words(expected)
    if not set(here).isdisjoint(there):
        return Relation.EQUAL
    if is_damaged(has, expected):
        return Relation.SLIP
    family, is_cut = len(_family(expected)), len(has.strip(" \0")) in _FIELDS
    if any(_is_slip(one, other, family, is_cut=is_cut) for one in here for other in there):
        return Relation.SLIP
    return Relation.DIFFERENT


def is_damaged(has: str, expected: str) -> bool:
    """Whether it is the expected name written in a character set that can't hold it, or read in another one."""
    if has.isascii():
        parts = (
            re.escape(run) if run.isascii() else rf"\?{{{len(run)},{3 * len(run)}}}"  # shared out in one way alone
            for run in _RUNS.findall(expected.casefold().rstrip("^"))
        )
        return "?" in has and re.fullmatch("".join(parts), has.casefold().rstrip("^ ")) is not None
    try:
        raw = has.encode("latin-1")
    except UnicodeError:
        return False
    wanted = set(name_words(expected))
    return any(not wanted.isdisjoint(name_words(text)) for text in _guesses(raw))


def _guesses(raw: bytes) -> Iterator[str]:
    for codec in _GUESSES:
        with contextlib.suppress(UnicodeError):
            yield raw.decode(codec)


def _family(name: str) -> tuple[str, ...]:
    words = name_words(name.partition("=")[0].partition("^")[0])
    return words[0] if words else ()


def _is_slip(one: tuple[str, ...], other: tuple[str, ...], family: int, *, is_cut: bool) -> bool:
    """Words of the header against words of the order, the first `family` of which are the family name."""
    whole, expected = "".join(one), "".join(other)
    if one == other[family:] + other[:family] or whole == expected or (is_cut and expected.startswith(whole)):
        return True
    if one[:family] == other[:family]:
        return _is_shortened(one[family:], other[family:])
    given = other[family:]
    if not given or one[-len(given) :] != given:
        return False
    short, long = "".join(one[: -len(given)]), "".join(other[:family])
    allowed = 1 if len(long) < 8 else 2
    return len(long) >= 4 and distance(short, long, limit=allowed) <= allowed


def _is_shortened(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether given names are the same with some left out behind, or written as initials."""
    if not one or not other:
        return False
    return all(
        mine == theirs or (len(min(mine, theirs, key=len)) == 1 and mine[0] == theirs[0])
        for mine, theirs in zip(one, other, strict=False)
    )


# -- birth date and sex --


def birth_date(has: str, expected: str) -> Relation:
    """PatientBirthDate of the header against the order's."""
    one, other = _digits(has), _digits(expected)
    if not other or date_of(other) is None:
        return Relation.UNKNOWN
    if one == other:
        return Relation.EQUAL
    if not one:
        return Relation.MISSING
    if len(one) != 8:
        return Relation.DIFFERENT
    swapped = other[:4] + other[6:] + other[4:6]
    apart = [place for place in range(8) if one[place] != other[place]]
    turned = len(apart) == 2 and apart[1] - apart[0] == 1 and one[apart[0]] == other[apart[1]]
    turned = turned and one[apart[1]] == other[apart[0]]
    # A digit of the decade or the century is a generation, not a slip
    return Relation.SLIP if apart[0] > 2 and (one == swapped or len(apart) == 1 or turned) else Relation.DIFFERENT


def _digits(value: str) -> str:
    digits = "".join(filter(str.isdigit, value))
    return "" if digits in _NO_BIRTH else digits


def sex(has: str, expected: str) -> Relation:
    """PatientSex of the header against the order's; O says little, so it contradicts nothing."""
    one, other = has.strip().upper(), expected.strip().upper()
    if one == other and one:
        return Relation.EQUAL
    if other not in {"M", "F"}:
        return Relation.UNKNOWN
    return Relation.DIFFERENT if one in {"M", "F"} else Relation.MISSING


def distance(one: str, other: str, *, limit: int) -> int:
    """Letters to add, drop, replace or swap with a neighbour; more than `limit` may be counted as `limit` + 1."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    start = next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), None)
    if start is None:
        return abs(len(one) - len(other))
    one, other = one[start:], other[start:]
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, 1):
        two_before, before, row = before, row, [i, *[0] * len(other)]
        for j, theirs in enumerate(other, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (mine != theirs))
            if i > 1 and j > 1 and mine == other[j - 2] and one[i - 2] == theirs:
                row[j] = min(row[j], two_before[j - 2] + 1)
        if min(row) > limit:
            return limit + 1
    return row[-1]
