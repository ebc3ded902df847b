"""What a header lacks of its IOD, in the manner of dciodvfy (PS3.3 A, C; PS3.5 6.2).

Promises: a report, never a reason to refuse or to hold (invariant 6). Looked at are the mandatory modules of the common
IODs: attributes of type 1 and 2 at the top level and in the items of its sequences, one deep, and the form of every
text value at every depth. What is conditional is not, nor the content of reports, nor what stands behind the header
(group 5000 and above). Codes are stable; a deviation holds no value, only its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from gateway.domain.value_forms import TEXTUAL, fault_of
from gateway.domain.worklist import DataSet, items, text

_SOP_CLASS_UID: Final = 0x00080016
_BEHIND: Final = 0x50000000


class Code(StrEnum):
    """What is wrong with an attribute."""

    TYPE_1_MISSING = "type-1-missing"
    TYPE_1_EMPTY = "type-1-empty"
    TYPE_2_MISSING = "type-2-missing"
    VALUE_INVALID = "value-invalid"
    UNKNOWN_CLASS = "sop-class-unknown"
    """There is no table for its SOP class: only values were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """One attribute that is not as its IOD or its VR demands."""

    code: Code
    attribute: str
    """Keyword, or gggg,eeee; in items `RequestAttributesSequence[1].AccessionNumber`, counted from 1."""
    module: str = ""
    """Whose attribute it is, as PS3.3 calls it, in lower case with dashes."""
    shape: str = ""
    """What is wrong with its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """The tags of type 1 and of type 2 of a module, or of the items of a sequence."""

    type_1: tuple[int, ...]
    type_2: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    itself: Required
    items: Mapping[int, Required]
    """Of the items of its sequences."""


Iods: TypeAlias = "Mapping[str, tuple[Module, ...]]"
"""The mandatory modules by SOP Class UID."""


def iods_of(table: Mapping[str, Any]) -> Iods:
    """The table of `iods.toml`."""
    modules = {
        name: Module(
            name=name,
            itself=_required(words),
            items={_tag(sequence): _required(within) for sequence, within in words.get("items", {}).items()},
        )
        for name, words in table["modules"].items()
    }
    mandatory = {iod: tuple(modules[name] for name in names.split()) for iod, names in table["iods"].items()}
    return {uid: mandatory[iod] for uid, iod in table["sop_classes"].items()}


def _required(words: Mapping[str, str]) -> Required:
    return Required(
        type_1=tuple(map(_tag, words.get("type_1", "").split())),
        type_2=tuple(map(_tag, words.get("type_2", "").split())),
    )


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return int(tag)


def deviations(header: DataSet, iods: Iods) -> list[Deviation]:
    """Everything that is not as it should be, each attribute once for each code."""
    modules = iods.get(text(header, _SOP_CLASS_UID))
    found = [Deviation(code=Code.UNKNOWN_CLASS, attribute="SOPClassUID")] if modules is None else []
    for module in modules or ():
        found += _lacking(header, module.itself, module.name, "")
        for tag, required in module.items.items():
            for number, item in enumerate(items(header, tag), start=1):
                found += _lacking(item, required, module.name, f"{keyword_for_tag(tag)}[{number}].")
    found += _malformed(header, "")
    return list({(one.code, one.attribute): one for one in found}.values())


def _lacking(dataset: DataSet, required: Required, module: str, place: str) -> Iterator[Deviation]:
    for tag in required.type_1:
        if tag not in dataset and tag < _BEHIND:
            yield Deviation(code=Code.TYPE_1_MISSING, attribute=place + keyword_for_tag(tag), module=module)
        elif tag in dataset and not _has_value(dataset, tag):
            yield Deviation(code=Code.TYPE_1_EMPTY, attribute=place + keyword_for_tag(tag), module=module)
    for tag in required.type_2:
        if tag not in dataset and tag < _BEHIND:
            yield Deviation(code=Code.TYPE_2_MISSING, attribute=place + keyword_for_tag(tag), module=module)


def _has_value(dataset: DataSet, tag: int) -> bool:
    vr, value = dataset[tag]
    return bool(value.strip(b" \0") if isinstance(value, bytes) and vr in TEXTUAL else value)


def _malformed(dataset: DataSet, place: str) -> Iterator[Deviation]:
    for tag, (vr, value) in dataset.items():
        name = place + (keyword_for_tag(tag) or f"{tag >> 16:04x},{tag & 0xFFFF:04x}")
        if not isinstance(value, bytes):
            for number, item in enumerate(value, start=1):
                yield from _malformed(item, f"{name}[{number}].")
        elif fault := fault_of(value, vr):
            yield Deviation(code=Code.VALUE_INVALID, attribute=name, shape=fault)
