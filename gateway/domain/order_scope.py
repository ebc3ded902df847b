"""Where a place of a message is looked up, and what the reading of it needs: the ground that all readings stand on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from gateway.domain.hl7 import Place, Segment
from gateway.domain.order_mapping import OrderMapping
from gateway.domain.order_model import Flag, Identifier

ABSENT: Final = object()
"""The message does not speak of it."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Scope:
    """The segments that a place is looked up in, the nearest layer first: the step's, the order's, the message's."""

    def __init__(self, *layers: Sequence[Segment]) -> None:
        self._layers = layers
        self._named: dict[str, list[Segment]] = {}
        self._observed: list[tuple[Segment, frozenset[str]]] | None = None
        for layer in reversed(layers):
            named: dict[str, list[Segment]] = {}
            for segment in layer:
                named.setdefault(segment.name, []).append(segment)
            self._named |= named

    def all(self, name: str) -> Sequence[Segment]:
        """The segments of that name in the nearest layer that has one."""
        return self._named.get(name, ())

    def near(self, name: str) -> Sequence[Segment]:
        """The same, without what stands before the first order."""
        layers = ([segment for segment in layer if segment.name == name] for layer in self._layers[:-1])
        return next(filter(None, layers), ())

    def at(self, places: Sequence[Place]) -> Iterator[tuple[Segment, Place]]:
        """The first segment of each place whose field is not empty."""
        for place in places:
            found = self._named.get(place.segment)
            if found is not None and place.field < len(fields := found[0].fields) and fields[place.field]:
                yield found[0], place

    def observed(self, words: frozenset[str]) -> Iterator[Segment]:
        """The observations whose OBX-3 is one of these codes or texts, case folded."""
        if self._observed is None:
            found = ((segment, segment.parts(3, 0, 2)) for segment in self.all("OBX"))
            self._observed = [(segment, frozenset(map(str.casefold, parts))) for segment, parts in found]
        return (segment for segment, named in self._observed if not words.isdisjoint(named))


class Reader:
    """What reading one message needs beside it; `flags` gathers what had to be supplied."""

    def __init__(self, mapping: OrderMapping, zone: ZoneInfo) -> None:
        self.mapping = mapping
        self.zone = zone
        self.flags: set[Flag] = set()

    def table(self, name: str, value: str) -> str | None:
        """The word of a table; one of its own words stands for itself; None if it is in neither."""
        words = self.mapping.tables[name]
        upper = value.strip().upper()
        return words.get(upper, upper if upper in words.values() else None)

    def issued(self, target: str, found: Identifier) -> Identifier:
        """The identifier with the configured issuer where it has none, under the name its authority is kept by."""
        names = self.mapping.tables["authorities"]
        if not found.issuer:
            return Identifier(value=found.value, authority=self.mapping.issuers.get(target, ""), type=found.type)
        kept = names.get(found.authority) or names.get(found.universal_id) or found.authority
        if kept == found.authority:
            return found
        return Identifier(
            value=found.value,
            authority=kept,
            universal_id=found.universal_id,
            universal_id_type=found.universal_id_type,
            type=found.type,
        )


def clean(text: str) -> str:
    """Text of one line and one value: controls become spaces, backslashes slashes."""
    if text.isalnum() or not text:
        return text
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text.replace("\\", "/").strip()
