"""Routing: what is known of a received image, the rules of the site over it, and the deliveries that come of it.

What is promised: every image is routed. A header that can't be read, or a fault in our own looking, sends it to the
destinations of [routing] default, with an alarm, and never keeps it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from gateway.dicom import part10
from gateway.dicom.elements import EXPLICIT_LITTLE, ElementError, parse, text_of
from gateway.dicom.header_values import header_values, tag_of
from gateway.domain.conditions import FINDING, VERDICT, Facts
from gateway.domain.model import AETitle, DestinationName, Instance, InstanceId, Lane
from gateway.domain.order_matching import Keys
from gateway.domain.order_model import Identifier
from gateway.domain.routing import DEFAULT_ROUTE, Route, Routed, Rule, base_lane, default_routes, route
from gateway.spool import Connection, audit, checks, deliveries, order_books, worklist
from gateway.spool.checks import StudyKey
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


Headers = Mapping[InstanceId, Facts | None]
"""What rules may look at in headers, by the ids of images; None where one can't be read and a rule looks at it."""


class Router:
    """Routes the images of a study: what is in their files is read first, then all of it is one transaction."""

    def __init__(self, policy: Policy, path_of: Callable[[Instance], Path]) -> None:
        self._policy = policy
        self._path_of = path_of
        self._looks_inside = any(map(tag_of, policy.keys))

    @property
    def has_routes(self) -> bool:
        """Whether images have anywhere to go."""
        return bool(self._policy.default)

    def headers_of(self, images: Sequence[Instance], links: Mapping[str, str]) -> Headers:
        """Read what `prepare` needs of these. `links`: by which digest the check knows the header of an image; those
        of one digest share their accession number, which is all that is needed where no rule looks at a tag."""
        read: dict[str, Facts | None] = {}
        headers: dict[InstanceId, Facts | None] = {}
        for instance in images:
            shared = instance.id if self._looks_inside else links.get(instance.id, instance.id)
            if shared not in read:
                read[shared] = self._header_of(instance)
            headers[instance.id] = read[shared]
        return headers

    def prepare(
        self, c: Connection, images: Sequence[Instance], headers: Headers, *, now: datetime, unverified: bool = False
    ) -> None:
        """Move received images on, each with a delivery for each of its routes, or one to the route of what could not
        be verified."""
        around = Around(c)
        for instance in images:
            routed = self._routed(around, instance, headers[instance.id], now)
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

    def _header_of(self, instance: Instance) -> Facts | None:
        try:
            return read_header(self._path_of(instance), self._policy.keys)
        except Exception as error:  # noqa: BLE001 -- a header's edge: whatever is in it, the image goes by default
            log.error("header not read for its rules", instance=instance.id, error=type(error).__name__)
            return None

    def _routed(self, around: Around, instance: Instance, header: Facts | None, now: datetime) -> Routed:
        try:
            if header is None:
                raise LookupError("a rule looks at a header that can't be read")
            facts = facts_of(around, instance, header, self._policy.keys)
            lane = lane_of(self._policy, instance, facts)
            return route(self._policy.rules, facts, lane=lane, default=self._policy.default)
        except Exception as error:  # noqa: BLE001 -- the rules' edge: no fault of theirs or ours may keep an image back
            log.error("routed by default", instance=instance.id, error=type(error).__name__)
            audit.raise_alarm(around.c, code=ALARM_RULES, subject="routing", now=now)
            lane = base_lane(sent=instance.origin.priority, ordered=(), scanner=None)
            return Routed(routes=default_routes(lane=lane, destinations=self._policy.default))


class Around:
    """What the books know around the images of a study, each thing asked once; for one transaction."""

    def __init__(self, c: Connection) -> None:
        self.c = c
        self._orders: dict[tuple[str, str], list[Facts]] = {}
        self._checks: dict[StudyKey, Facts] = {}

    def orders(self, *, StudyInstanceUID: str = "", AccessionNumber: str = "") -> list[Facts]:
        """What is known of the orders of a study or of an accession number."""
        key = StudyInstanceUID, AccessionNumber
        if key not in self._orders:
            self._orders[key] = _ordered(self.c, StudyInstanceUID, AccessionNumber)
        return self._orders[key]

    def check(self, instance: Instance) -> Facts:
        """What the check of its study came to."""
        key = checks.key_of(instance)
        if key not in self._checks:
            self._checks[key] = _checked(self.c, key)
        return self._checks[key]


def lane_of(policy: Policy, instance: Instance, facts: Facts) -> Lane:
    """How urgent it is before any rule."""
    return base_lane(
        sent=instance.origin.priority,
        ordered=facts.get(PRIORITY, ()),
        scanner=policy.urgency(instance.origin.calling_ae),
    )


def read_header(path: Path, keys: frozenset[str]) -> Facts:
    """What rules that look at `keys` may know of a file's header, and the accession number, which finds its order.

    Raises OSError or ElementError if a rule looks at the header and it can't be read.
    """
    try:
        return header_of(path, {*keys, ACCESSION})
    except (OSError, ElementError):
        if any(map(tag_of, keys)):
            raise
        return {}  # its order may make it more urgent than it looks, and it goes on in any case


def facts_of(around: Around, instance: Instance, header: Facts, keys: frozenset[str]) -> Facts:
    """What rules that look at `keys` may know of an image with that header, its order's priority included.

    The order is that of its study, else that of its accession number.
    """
    accession = header.get(ACCESSION, ("",))[0]
    orders = around.orders(StudyInstanceUID=instance.StudyInstanceUID)
    if not orders and accession:
        orders = around.orders(AccessionNumber=accession)
    return {**known(instance, header, orders), **(around.check(instance) if keys & {VERDICT, FINDING} else {})}


def _checked(c: Connection, study: StudyKey) -> Facts:
    check = checks.of_study(c, study)
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


def _ordered(c: Connection, StudyInstanceUID: str, AccessionNumber: str) -> list[Facts]:
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
