"""The closed vocabulary of issues: every code that the gateway raises, with what it means.

What is promised: nothing raises a code that is not here (the spool refuses it), and each has its section in
docs/operations/alarms.md (a test compares).
"""

from __future__ import annotations

from typing import Final

from gateway.domain.issue import Kind, together
from gateway.domain.issues_fleet import FLEET
from gateway.domain.issues_health import HEALTH
from gateway.domain.issues_images import IMAGES
from gateway.domain.issues_orders import ORDERS

KINDS: Final[dict[str, Kind]] = together(IMAGES, ORDERS, HEALTH, FLEET)


def step(code: str, subject: str) -> str:
    """What to do about it."""
    kind = KINDS.get(code)
    return kind.step.format(subject=subject) if kind else "An alarm of an older version: look for its code in the log."
