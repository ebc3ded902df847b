"""What central IT may ask of a box, and what the box answers to it. Pure.

Promises
- The list is closed: there is no command that deletes, none that runs what it is sent, none that reads a patient.
- A command is one box's, for minutes, once: `judge` refuses what is not signed by keys of this box, what names another
  box, what is too early, too late or valid for too long, and what has arguments of any other shape than its own. Two
  persons sign what changes the box (`Form.signatures`). Being once is the books' part (`gateway.spool.commands`).
- `hindered`: what disturbs an exam waits for a person to ask again, or, if it is a wish for a configuration, until it
  does not (reliability-security-fleet.md A4).
- Answers are codes of closed lists. A refusal is told only to who signed for this box: to others there is silence.

Times are UTC with whole seconds. The clock of the books (`floor`) never goes back, though that of the box may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.domain.signature import Flaw, KeyId, opened, sealed
from gateway.domain.update import Objection

SCHEMA: Final = "cmd/1.0"
SKEW: Final = timedelta(seconds=60)
"""How far a sender's clock may be ahead of ours."""
MINUTES: Final = timedelta(minutes=15)
WEEKS: Final = timedelta(days=30)
"""How long a wish for a configuration waits for a box that is away."""
CONFIGURATION_MAX: Final = 64 * 1024
"""Characters of a configuration."""
LONGEST: Final = 128 * 1024
"""Bytes of a message: a configuration, escaped, and what is around it. A broker takes no larger one."""


class CommandName(StrEnum):
    """Everything that can be asked."""

    PING = "ping"
    C_ECHO = "c_echo"
    """Ask one configured peer whether it is there."""
    SELFTEST = "selftest"
    """Send the synthetic patient through the box."""
    RESEND_FAILED = "resend_failed"
    """Queue what one destination refused again."""
    LOG_LEVEL = "log_level"
    """Log more, or less, for some minutes."""
    COLLECT_DIAG = "collect_diag"
    """Write a diagnostics bundle on the box; it is fetched from there, never sent this way."""
    APPLY_CONFIG = "apply_config"
    """This is to be the configuration."""
    UPDATE = "update"
    """This version is to be installed; the content is fetched and proven by the box."""


class Reason(StrEnum):
    """Why a command is not carried out; the `Flaw`s of its signatures come before these."""

    MALFORMED = "malformed"
    """Not the fields of a command, or one of another shape."""
    WRONG_BOX = "wrong-box"
    NOT_ALLOWED = "not-allowed"
    """No command of the list."""
    BAD_ARGUMENTS = "bad-arguments"
    NEEDS_TWO = "needs-two-signatures"
    VALID_TOO_LONG = "valid-too-long"
    NOT_YET = "not-yet"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    """It was here already."""
    ASSOCIATION_OPEN = "association-open"
    EXAM_DUE = "exam-due"


class Phase(StrEnum):
    """How far a configuration that was wished for is."""

    STAGED = "staged"
    """It holds, and waits until it disturbs nobody."""
    REJECTED = "rejected"
    """It does not hold."""
    APPLIED = "applied"
    """It is in place and has yet to prove itself."""
    CONFIRMED = "confirmed"
    """The box is whole by it."""
    ROLLED_BACK = "rolled-back"
    """The box was not whole by it, and has the one before."""


class Outcome(StrEnum):
    """What became of a command."""

    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"


class Code(StrEnum):
    """What became of what was carried out, in a word."""

    OK = "ok"
    UNKNOWN_NAME = "unknown-name"
    """The configuration of this box names no such thing."""
    NO_ANSWER = "no-answer"
    """The peer could not be reached, or did not answer with success."""
    NOT_PASSED = "not-passed"
    """The test ran, and not all of it held."""
    STAGED = "staged"
    """It is applied as soon as it disturbs nobody; `reported` tells, or of a release `info`."""
    REJECTED = "rejected"
    """It is no configuration that holds; `reported` names the keys."""
    OLDER = "older-version"
    """This or a later one was wished for before."""
    INTERRUPTED = "interrupted"
    """The box was restarted meanwhile: it is not known how far it came, and it is not done again."""
    FAULT = "fault"
    """Something of ours failed; the log of the box tells what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a deed came to."""

    outcome: Outcome
    code: Code | Objection
    count: int | None = None
    """Of what it did, where that is countable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one command."""

    nonce: str
    name: CommandName | None
    """None: the list has no such command."""
    outcome: Outcome
    code: Code | Flaw | Objection | Reason
    count: int | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """An argument that is text."""

    pattern: re.Pattern[str]
    longest: int = 64

    def holds(self, value: object) -> bool:
        return isinstance(value, str) and len(value) <= self.longest and self.pattern.fullmatch(value) is not None

    def __str__(self) -> str:
        return f"text of the form {self.pattern.pattern}, at most {self.longest} long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An argument that is a whole number."""

    least: int
    most: int

    def holds(self, value: object) -> bool:
        return type(value) is int and self.least <= value <= self.most  # True is no number

    def __str__(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The shape of one command."""

    arguments: Mapping[str, Text | Number]
    """All of them, each needed."""
    signatures: int = 1
    disturbs: bool = False
    """It restarts what scanners talk to."""
    valid: timedelta = MINUTES
    """The longest from `nbf` to `exp`."""


_NAMED: Final = Text(pattern=re.compile(r"[A-Za-z0-9_.:-]{1,64}"))
_MOMENT: Final = Text(pattern=re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"))
_DIGEST: Final = Text(pattern=re.compile(r"[0-9a-f]{64}"))
_RING: Final = Text(pattern=re.compile(r"[a-z][a-z0-9]{0,30}(-[a-z0-9]{1,30}){0,6}"))
_COUNTED: Final = Number(least=1, most=2**53)
_LEVEL: Final = Text(pattern=re.compile(r"debug|info|warning|error"))
_TOML: Final = Text(pattern=re.compile(r"[^\x00\ud800-\udfff]+"), longest=CONFIGURATION_MAX)

ENVELOPE: Final[Mapping[str, Text]] = {
    "cmd": _NAMED,
    "site": _NAMED,
    "box": _NAMED,
    "nonce": Text(pattern=re.compile(r"[A-Za-z0-9_-]{16,64}")),
    "nbf": _MOMENT,
    "exp": _MOMENT,
}
"""What every command has beside its `schema` and its `args`."""
FORMS: Final[Mapping[CommandName, Form]] = {
    CommandName.PING: Form(arguments={}),
    CommandName.C_ECHO: Form(arguments={"peer": _NAMED}),
    CommandName.SELFTEST: Form(arguments={}),
    CommandName.RESEND_FAILED: Form(arguments={"destination": _NAMED}),
    CommandName.LOG_LEVEL: Form(arguments={"level": _LEVEL, "minutes": Number(least=1, most=240)}),
    CommandName.COLLECT_DIAG: Form(arguments={}),
    CommandName.APPLY_CONFIG: Form(
        arguments={"version": _COUNTED, "ring": _RING, "toml": _TOML}, signatures=2, valid=WEEKS
    ),
    CommandName.UPDATE: Form(
        arguments={"version": _NAMED, "sequence": _COUNTED, "ring": _RING, "sha256": _DIGEST},
        signatures=2,
        disturbs=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing that is asked of one box."""

    name: CommandName
    arguments: Mapping[str, str | int]
    site: str
    box: str
    nonce: str
    """Never used before: 16 to 64 letters, digits, `-` or `_`."""
    not_before: datetime
    expires: datetime

    def text(self, argument: str) -> str:
        return str(self.arguments[argument])

    def number(self, argument: str) -> int:
        return int(self.arguments[argument])


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentic:
    """A command that this box may carry out, by its form and its signers."""

    command: Command
    signers: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a command that was signed for this box and is refused."""

    nonce: str
    name: CommandName | None
    not_before: datetime
    expires: datetime
    signers: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What is not carried out, and why."""

    reason: Flaw | Reason
    asked: Asked | None = None
    """Whose answer this is; None: it is not answered, for nobody we trust asked it of this box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What goes on in the room."""

    association_open: bool
    exam_due: bool


def signed(command: Command, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The message for `cmd/req` or `desired`. Raises ValueError where its form wants other arguments or more keys."""
    form = FORMS[command.name]
    faults = [*_faults(form, command.arguments)]
    if len(keys) < form.signatures:
        faults.append(f"is signed by {len(keys)}: sign with {form.signatures} keys, of two people")
    if faults:
        wanted = ", ".join(form.arguments) or "none"
        raise ValueError(f"{command.name}: {'; '.join(faults)}; its arguments: {wanted}")
    body = {
        "schema": SCHEMA,
        "cmd": command.name.value,
        "args": dict(command.arguments),
        "site": command.site,
        "box": command.box,
        "nonce": command.nonce,
        "nbf": _spelled(command.not_before),
        "exp": _spelled(command.expires),
    }
    return sealed(body, keys)


def judge(
    raw: bytes, *, trusted: Mapping[KeyId, Ed25519PublicKey], site: str, box: str, now: datetime
) -> Authentic | Refused:
    """Whether these bytes are a command that this box may carry out at this moment (UTC-aware)."""
    said = opened(raw, trusted=trusted, longest=LONGEST)
    if isinstance(said, Flaw):
        return Refused(reason=said)
    body = said.body
    if not _well_formed(body):
        return Refused(reason=Reason.MALFORMED)
    if (body["site"], body["box"]) != (site, box):
        return Refused(reason=Reason.WRONG_BOX)
    asked = Asked(
        nonce=body["nonce"],
        name=CommandName(body["cmd"]) if body["cmd"] in set(CommandName) else None,
        not_before=_moment(body["nbf"]),
        expires=_moment(body["exp"]),
        signers=said.signers,
    )
    if asked.name is None:
        return Refused(reason=Reason.NOT_ALLOWED, asked=asked)
    command = Command(
        name=asked.name,
        arguments=body["args"],
        site=site,
        box=box,
        nonce=asked.nonce,
        not_before=asked.not_before,
        expires=asked.expires,
    )
    reason = _flaw_of(command, signers=len(said.signers), now=now)
    if reason is not None:
        return Refused(reason=reason, asked=asked)
    return Authentic(command=command, signers=said.signers)


def hindered(name: CommandName, standing: Standing) -> Reason | None:
    """Why this command would disturb somebody now; None if it does not."""
    if not FORMS[name].disturbs:
        return None
    if standing.association_open:
        return Reason.ASSOCIATION_OPEN
    return Reason.EXAM_DUE if standing.exam_due else None


def _flaw_of(command: Command, *, signers: int, now: datetime) -> Reason | None:
    form = FORMS[command.name]
    if not _fits(form, command.arguments):
        return Reason.BAD_ARGUMENTS
    if signers < form.signatures:
        return Reason.NEEDS_TWO
    if not timedelta(0) < command.expires - command.not_before <= form.valid:
        return Reason.VALID_TOO_LONG
    if command.not_before > now + SKEW:
        return Reason.NOT_YET
    return Reason.EXPIRED if command.expires <= now else None


def _fits(form: Form, arguments: Mapping[str, Any]) -> bool:
    return not any(_faults(form, arguments))


def _faults(form: Form, arguments: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with each argument; never its value."""
    for name in dict.fromkeys([*form.arguments, *arguments]):
        shape = form.arguments.get(name)
        if shape is None:
            yield "an argument is none of it"
        elif name not in arguments:
            yield f"{name} is missing"
        elif not shape.holds(arguments[name]):
            yield f"{name} is not {shape}"


def _well_formed(body: Mapping[str, Any]) -> bool:
    if body.keys() != {"schema", "args", *ENVELOPE} or body["schema"] != SCHEMA or not isinstance(body["args"], dict):
        return False
    formed = all(shape.holds(body[field]) for field, shape in ENVELOPE.items())
    return formed and all(_is_moment(body[field]) for field in ("nbf", "exp"))


def _is_moment(text: str) -> bool:
    try:
        _moment(text)
    except ValueError:  # the 30th of February
        return False
    return True


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _spelled(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
