"""Routing: what is known of a received image, the rules of the site over it, and the deliveries that come of it.

What is promised: every image is routed. A header that can't be read, or a fault in our own looking, sends it to the
destinations of [routing] default, with an alarm, and never keeps it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.dicom import part10
from gateway.dicom.elements import EXPLICIT_LITTLE, ElementError, parse, text_of
from gateway.dicom.header_values import header_values, tag_of
from gateway.domain.conditions import FINDING, VERDICT, Facts
from gateway.domain.model import AETitle, DestinationName, Instance, Lane
from gateway.domain.order_matching import Keys
from gateway.domain.order_model import Identifier
from gateway.domain.routing import DEFAULT_ROUTE, Route, Routed, Rule, base_lane, default_routes, route
from gateway.spool import Connection, audit, checks, deliveries, order_books, worklist
from gateway.spool.mapping import mapped
from gateway.spool.order_books import Order
from gateway.spool.worklist import WorklistRow

ALARM_RULES: Final = "routing-rules"
QUIET: Final = timedelta(hours=1)
"""After which the alarm ends."""
ACCESSION: Final = "AccessionNumber"
PRIORITY: Final = "order.RequestedProcedurePriority"
ROWS: Final = 50
"""Of the worklist, of one order."""

_PLAIN: Final = (
    *("RequestedProcedureID", "RequestedProcedurePriority", "RequestedProcedureDescription"),
    *("RequestingPhysician", "ReferringPhysicianName", "InstitutionName", "InstitutionalDepartmentName"),
    *("CurrentPatientLocation",),
)
_CODES: Final = 0x00321064
"""RequestedProcedureCodeSequence."""
_CODE_VALUE: Final = 0x00080100

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the site says of routing."""

    default: tuple[DestinationName, ...]
    rules: tuple[Rule, ...]
    lanes_of: Mapping[DestinationName, tuple[Lane, ...]]
    """Which lanes each destination has."""
    urgency: Callable[[AETitle], Lane | None]
    """What the site says of a scanner's images; None: nothing."""
    unverified: DestinationName | None = None
    """Where goes what was held for an order that did not come; None: where all goes."""

    @property
    def keys(self) -> frozenset[str]:
        """What the rules look at."""
        return frozenset[str]().union(*(rule.keys for rule in self.rules))

    def with_lane(self, one: Route) -> Route:
        """The route in a lane that its destination has."""
        lanes = self.lanes_of.get(one.destination, tuple(Lane))
        return one if one.lane in lanes else replace(one, lane=lanes[0])


class Router:
    """Routes instances, one by one, inside a transaction."""

    def __init__(self, policy: Policy, path_of: Callable[[Instance], Path]) -> None:
        self._policy = policy
        self._path_of = path_of

    @property
    def has_routes(self) -> bool:
        """Whether images have anywhere to go."""
        return bool(self._policy.default)

    def prepare(self, c: Connection, instance: Instance, *, now: datetime, unverified: bool = False) -> None:
        """Move a received instance on, with a delivery for each of its routes, or one to the route of what could not
        be verified."""
        routed = self._routed(c, instance, now)
        if unverified and self._policy.unverified is not None:
            lane = routed.routes[0].lane
            routed = Routed(routes=default_routes(lane=lane, destinations=[self._policy.unverified]))
        routes = [self._policy.with_lane(one) for one in routed.routes]
        why = f"rules {' '.join(routed.fired)}"[:128] if routed.fired else DEFAULT_ROUTE
        deliveries.prepare(c, instance.id, routes=routes, now=now, by="forward", why=why)

    def watch(self, c: Connection, *, now: datetime) -> None:
        """End the alarm once all has been well for a while."""
        for alarm in audit.active_alarms(c, code=ALARM_RULES):
            if now - alarm.last > QUIET:
                audit.clear_alarm(c, code=ALARM_RULES, subject=alarm.subject, now=now)

    def _routed(self, c: Connection, instance: Instance, now: datetime) -> Routed:
        try:
            facts = facts_of(c, instance, self._path_of(instance), self._policy.keys)
            lane = lane_of(self._policy, instance, facts)
            return route(self._policy.rules, facts, lane=lane, default=self._policy.default)
        except Exception as error:  # noqa: BLE001 -- the rules' edge: no fault of theirs or ours may keep an image back
            log.error("routed by default", instance=instance.id, error=type(error).__name__)
            audit.raise_alarm(c, code=ALARM_RULES, subject="routing", now=now)
            lane = base_lane(sent=instance.origin.priority, ordered=(), scanner=None)
            return Routed(routes=default_routes(lane=lane, destinations=self._policy.default))


def lane_of(policy: Policy, instance: Instance, facts: Facts) -> Lane:
    """How urgent it is before any rule."""
    return base_lane(
        sent=instance.origin.priority,
        ordered=facts.get(PRIORITY, ()),
        scanner=policy.urgency(instance.origin.calling_ae),
    )


def facts_of(c: Connection, instance: Instance, path: Path, keys: frozenset[str]) -> Facts:
    """What rules that look at `keys` may know of an image whose file that is, its order's priority included.

    The order is that of its study, else that of its accession number. Raises OSError or ElementError if a rule looks
    at the header and it can't be read.
    """
    header: Facts = {}
    if any(map(tag_of, keys)):
        header = header_of(path, {*keys, ACCESSION})
    orders = _ordered(c, StudyInstanceUID=instance.StudyInstanceUID)
    if not orders:
        with suppress(OSError, ElementError):  # it may be more urgent than it looks, and goes on in any case
            header = header or header_of(path, {ACCESSION})
        accession = header.get(ACCESSION, ("",))[0]
        orders = _ordered(c, AccessionNumber=accession) if accession else []
    return {**known(instance, header, orders), **(_checked(c, instance) if keys & {VERDICT, FINDING} else {})}


def _checked(c: Connection, instance: Instance) -> Facts:
    check = checks.of_study(c, checks.key_of(instance))
    if check is None:
        return {}
    return {VERDICT: (check.verdict.decision,), FINDING: tuple(one.code for one in check.verdict.findings)}


def known(instance: Instance, header: Facts, orders: Sequence[Facts] = ()) -> Facts:
    """Header, origin and orders as facts by their keys."""
    ours = {
        "calling_ae": (instance.origin.calling_ae,),
        "called_ae": (instance.origin.called_ae,),
        "address": (instance.origin.address,),
        "size": (str(instance.size),),
    }
    facts: dict[str, tuple[str, ...]] = {**{key: tuple(values) for key, values in header.items()}, **ours}
    for order in orders:
        for name, values in order.items():
            facts[f"order.{name}"] = (*facts.get(f"order.{name}", ()), *values)
    return facts


def _ordered(c: Connection, *, StudyInstanceUID: str = "", AccessionNumber: str = "") -> list[Facts]:
    """What is known of the orders of a study or of an accession number: from messages, else from the worklist."""
    asked = Keys(source="", StudyInstanceUID=StudyInstanceUID, accession=Identifier(value=AccessionNumber))
    orders = order_books.candidates(c, asked)
    if orders:
        return [_of_order(order) for order in orders]
    given = {"StudyInstanceUID": StudyInstanceUID, "AccessionNumber": AccessionNumber}
    named = {name: value for name, value in given.items() if value}
    return [_of_row(stored.row) for stored in worklist.of_order(c, named, limit=ROWS)] if named else []


def header_of(path: Path, keys: Iterable[str]) -> Facts:
    """The values of a Part 10 file. Raises OSError, or ElementError if it is none."""
    with mapped(path) as whole:
        meta = part10.read(bytes(whole[: part10.LONGEST_HEADER]))
        with whole[meta.data_offset :] as data_set:
            return header_values(data_set, meta.TransferSyntaxUID, keys)


def _of_order(order: Order) -> Facts:
    procedure = order.procedure
    return {
        "source": (order.source,),
        "status": (order.status,),
        ACCESSION: (procedure.accession.value,),
        **{name: (getattr(procedure, name),) for name in _PLAIN},
        "RequestedProcedureCode": tuple(code.CodeValue for code in procedure.RequestedProcedureCodeSequence),
        "Modality": tuple(step.Modality for step in procedure.steps),
        "ScheduledStationAETitle": tuple(ae for step in procedure.steps for ae in step.ScheduledStationAETitle),
    }


def _of_row(row: WorklistRow) -> Facts:
    codes = parse(row.dataset, EXPLICIT_LITTLE).get(_CODES)
    items = codes.value if codes is not None and isinstance(codes.value, list) else []
    return {
        **header_values(row.dataset, EXPLICIT_LITTLE, _PLAIN),
        "source": (row.source,),
        "status": (row.status,),
        ACCESSION: (row.AccessionNumber,),
        "RequestedProcedureCode": tuple(text_of(item, _CODE_VALUE) for item in items),
        "Modality": (row.Modality,),
        "ScheduledStationAETitle": tuple(row.ScheduledStationAETitle.split("\\")),
    }
