"""What a mapping took from a message, field by field: for the person who connects a new sender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gateway.domain.hl7 import Message
from gateway.domain.order_mapping import Rule
from gateway.domain.order_model import Code, Identifier
from gateway.domain.order_reading import told
from gateway.domain.order_scope import Reader, Scope
from gateway.domain.orders import ORDERS, Sender, parts, until


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One attribute of one order of a message."""

    order: int
    """Which ORC, from 1; 0: what is told once for the whole message."""
    attribute: str
    place: str
    """Where the value came from; empty: nowhere."""
    value: str
    """As text; this is patient data."""


def explain(message: Message, sender: Sender) -> Iterator[Taken]:
    """Every attribute of the mapping, with what the message says of it."""
    mapping = sender.mapping
    header = until(message.segments, "ORC")
    kind = message.get("MSH-9.1").upper(), message.get("MSH-9.2").upper()
    if kind not in ORDERS:
        rules = (*mapping.patient, *(mapping.appointment if kind[0] == "SIU" else ()))
        yield from _taken(0, rules, Reader(mapping, sender.zone), Scope(header))
        return
    for group in message.groups("ORC"):
        for part, step in parts(group):
            scope = Scope((step,) if step else (), part, group, header)
            rules = (*mapping.patient, *mapping.procedure, *mapping.step)
            yield from _taken(group[0].number, rules, Reader(mapping, sender.zone), scope)


def _taken(order: int, rules: Sequence[Rule], reader: Reader, scope: Scope) -> Iterator[Taken]:
    for rule in rules:
        found = next(((place, value) for place in rule.places for value in _read(rule, place, reader, scope)), None)
        place, value = found or ("", "")
        yield Taken(order=order, attribute=rule.target, place=place, value=shown(value) if found else "")


def _read(rule: Rule, place: str, reader: Reader, scope: Scope) -> Iterator[Any]:
    yield from told(reader, [replace(rule, places=(place,))], scope).values()


def shown(value: Any) -> str:
    """A value in one line; a deletion says so."""
    match value:
        case None:
            return "(deleted)"
        case tuple():
            return "; ".join(map(shown, value))
        case Identifier():
            return f"{value.value} ({value.issuer})" if value.issuer else value.value
        case Code():
            return f"{value.CodeValue} ({value.CodingSchemeDesignator}) {value.CodeMeaning}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S %z}"
        case _:
            return str(value)
