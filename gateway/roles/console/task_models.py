"""What the API's tasks are asked and answer. Only `Case` and what is in it names patients.

Stable as models.py says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.domain.identity_model import Decision as Ruling
from gateway.domain.identity_model import Reason, Severity
from gateway.domain.task import Choice, TaskKind, TaskState, Way
from gateway.roles.console.models import Answer, Plain

Words = Annotated[str, Field(max_length=1000, description="For whoever looks at it later; no patient.")]


class Because(BaseModel):
    """A person's reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    why: Words = ""


class Release(Because):
    """It is right as it is."""

    remember: bool = Field(default=False, description="For every later study with exactly the same evidence, too.")


class Assignment(Release):
    """Which order a study belongs to: an accession number, or the one that is suggested."""

    AccessionNumber: Annotated[str, Field(max_length=64)] = ""
    StudyInstanceUID: Annotated[str, Field(max_length=64)] = Field(
        default="", description="Which of several orders with that accession number."
    )
    suggested: bool = False


class Task(Answer):
    """What a person is asked about a study."""

    id: int
    study: Plain
    kind: TaskKind
    code: str = Field(description="The rule or the fault behind it.")
    blocks: bool = Field(description="Nothing of the study leaves before it is decided.")
    state: TaskState
    opened_at: datetime
    escalate_at: datetime | None
    decided_at: datetime | None
    decided_by: str
    outcome: str


class Tasks(Answer):
    """What holds images first."""

    at: datetime
    tasks: list[Task]


class Decided(Answer):
    """A decision that is written down."""

    decision: int
    choice: Choice


class Revoked(Answer):
    """A remembered decision that holds no more."""

    rule: int


class Decision(Answer):
    """What a person said."""

    id: int
    study: Plain
    choice: Choice
    target: dict[str, Plain]
    remember: bool
    why: Plain
    decided_by: str
    decided_at: datetime
    carried_at: datetime | None
    outcome: str = Field(description="What it came to; empty until forward carried it out.")


class Rule(Answer):
    """A decision that holds for other studies."""

    rule: int
    used: int
    last_used: datetime | None
    revoked_at: datetime | None
    revoked_by: str
    decision: Decision


class Remembered(Answer):
    """Decisions that hold for other studies with the same evidence."""

    at: datetime
    rules: list[Rule]


class Tally(Answer):
    """Studies that were decided alike."""

    verdict: Ruling
    applied: bool = Field(description="False: shadow mode, nothing was changed.")
    blocks: bool
    by: str = Field(description="check or person")
    studies: int


class Summary(Answer):
    """What the check decided in some days."""

    since: datetime
    until: datetime
    verdicts: list[Tally]


class Finding(Answer):
    """One disagreement or oddity."""

    code: str
    severity: Severity
    attribute: str
    has: Plain
    expected: Plain
    sentence: str


class Change(Answer):
    """One attribute that is written."""

    attribute: str
    value: Plain
    reason: Reason
    rule: str


class Verdict(Answer):
    """What was decided of a study, and why."""

    decision: Ruling
    because: str
    blocks: bool
    applied: bool
    version: str
    decided_by: str
    decided_at: datetime
    order: str | None
    findings: list[Finding]
    changes: list[Change]


class Order(Answer):
    """An order that shares a number with the study."""

    id: str
    source: str
    status: str
    AccessionNumber: Plain
    StudyInstanceUID: Plain
    PatientID: Plain
    PatientName: Plain
    PatientBirthDate: str


class ReadBack(Answer):
    """Values that a destination is to show after a re-send."""

    id: int
    StudyInstanceUID: Plain
    destination: str
    expected: dict[str, Plain]
    asked_at: datetime
    settled_at: datetime | None
    outcome: str


class Case(Answer):
    """A study in doubt."""

    study: Plain
    images: int
    way: Way | None
    held_until: datetime | None
    verdict: Verdict | None
    orders: list[Order]
    tasks: list[Task]
    decisions: list[Decision]
    read_backs: list[ReadBack]
