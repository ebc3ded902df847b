"""The check of images against their orders: what it may do, how long doubt holds, and who is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Annotated, Literal

from pydantic import Field

from gateway.config.section import Section, spelled
from gateway.config.values import Duration, Flag, Folder, Hold
from gateway.domain.identity_model import CheckPolicy
from gateway.domain.model import AETitle
from gateway.domain.task import Patience

Pattern = Annotated[str, Field(min_length=1, max_length=64)]


class HoldTimes(Section):
    default: Hold = spelled("off")
    """How long an image without an order waits for it; "off": not at all."""
    emergency: Hold = spelled("off")
    """The same for emergency patients."""


class Check(Section):
    mode: Literal["apply", "shadow", "off"] = spelled("apply")
    """Check images against orders: "apply" corrects, "shadow" only reports, "off" does neither."""
    hold: HoldTimes = spelled({})
    """How long an image waits for its order."""
    rules: Folder = spelled("check/")
    """The folder of the site's rules for headers; it need not exist."""
    escalate: Duration = spelled("30m")
    """How long a task that holds images may wait for a person before it is an alarm, and before it is one again."""
    resend: Literal["never", "person", "always"] = spelled("person")
    """What is sent again to a destination that has it already: "person": what a person decided or took back;
    "always": what a late order or a merge changes, too; "never"."""
    enrich: Flag = spelled(True)
    """Fill what an image has nothing of from its order, once that is proven."""
    wider_guard: Flag = spelled(False)
    """Correct by any exact key of the order and two corroborators, too; not before a time in shadow mode."""
    order_age: Duration = spelled("24h")
    """An order that its source confirmed longer ago proves nothing."""
    test_patients: Annotated[tuple[Pattern, ...], Field(max_length=100)] = spelled([*CheckPolicy().test_patients])
    """Patterns with * and ? of the names and ids of what is no patient; never corrected."""

    def policy(
        self, zone: tzinfo, emergencies: frozenset[str], constants: Mapping[str, Mapping[str, str]]
    ) -> CheckPolicy:
        """The same as the domain knows it. `emergencies`: the scanners whose patients come without an order;
        `constants`: what the images of each say of it."""
        return CheckPolicy(
            zone=zone,
            enrich=self.enrich,
            wider_guard=self.wider_guard,
            order_age=self.order_age,
            emergency_aes=emergencies,
            test_patients=self.test_patients,
            constants=constants,
        )

    def patience(self, scanners: Mapping[AETitle, timedelta]) -> Patience:
        """How long doubt holds, with what single scanners have instead."""
        none = timedelta(0)
        return Patience(
            default=self.hold.default or none,
            emergency=self.hold.emergency or none,
            scanners=tuple(scanners.items()),
            escalate=self.escalate,
        )
