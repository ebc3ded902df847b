"""What a simulated box makes of the wishes of central, sans I/O: judged as a real box does, told as it comes so far.

What is promised: a wish is believed for its signatures alone, and a version is taken once. It goes a phase further at
each `step`. A `Temper` other than OBEYS is one of the ways in which a box goes wrong, so that a rollout can be seen to
halt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.domain.command import Authentic, Code, Command, CommandName, Outcome, Phase, judge
from gateway.domain.signature import KeyId
from gateway.domain.telemetry import Reported, Result
from gateway.domain.update import Objection

_NEXT: Final = {Phase.STAGED: Phase.APPLIED, Phase.APPLIED: Phase.CONFIRMED}
FAULT: Final = "mqtt.port"
"""The key for which a configuration is rejected."""


class Temper(StrEnum):
    """How a box takes a change."""

    OBEYS = "obeys"
    REJECTS = "rejects"
    FALLS_BACK = "falls-back"
    """It has the change in place, and goes back."""
    VANISHES = "vanishes"
    """It has the change in place, and is never heard again."""
    REDDENS = "reddens"
    """It has the change in place, and its PACS is gone."""
    KEEPS_SILENT = "keeps-silent"
    """It does nothing."""


class Twin:
    """The wishes of one box."""

    def __init__(
        self, *, site: str, box: str, trusted: Mapping[KeyId, Ed25519PublicKey], temper: Temper = Temper.OBEYS
    ) -> None:
        self._site, self._box = site, box
        self._trusted = trusted
        self._temper = temper
        self._reported: Reported | None = None
        self.facts: dict[str, Any] = {"sw_seq": 1}
        """What the box says of releases: fields of `Info`."""

    @property
    def gone(self) -> bool:
        """The box is never heard again."""
        return self._temper is Temper.VANISHES and self._has(Phase.APPLIED)

    @property
    def red(self) -> bool:
        """Its PACS is gone."""
        return self._temper is Temper.REDDENS and self._has(Phase.CONFIRMED)

    @property
    def reported(self) -> Reported | None:
        """What became of the last configuration."""
        return self._reported

    def hear(self, raw: bytes, now: datetime) -> Result | None:
        """The answer to what came under `desired` or `cmd/req`; what is not for this box gets none."""
        judged = judge(raw, trusted=self._trusted, site=self._site, box=self._box, now=now)
        if not isinstance(judged, Authentic) or self._temper is Temper.KEEPS_SILENT:
            return None
        outcome, code = self._take(judged.command, now)
        asked = judged.command
        return Result(
            box=self._box, ts=now, nonce=asked.nonce, cmd=asked.name.value, outcome=outcome, code=code.value
        )  # fmt: skip

    def step(self, now: datetime) -> None:
        """Go a phase further with what is under way."""
        if self.gone:
            return
        if self._reported is not None and self._reported.phase in _NEXT:
            self._report(now, self._after(self._reported.phase))
        phase = self.facts.get("release_phase")
        if phase in _NEXT:
            after = self._after(phase)
            confirmed = {"sw_seq": self.facts["release"]} if after is Phase.CONFIRMED else {}
            self.facts = {**self.facts, "release_phase": after, **confirmed}

    def _take(self, asked: Command, now: datetime) -> tuple[Outcome, Code | Objection]:
        if asked.name is CommandName.APPLY_CONFIG:
            return self._configuration(asked, now)
        if asked.name is not CommandName.UPDATE:
            return Outcome.DONE, Code.OK
        if asked.number("sequence") <= max(self.facts["sw_seq"], self.facts.get("release", 0)):
            return Outcome.FAILED, Objection.NOT_NEWER
        if self._temper is Temper.REJECTS:
            return Outcome.FAILED, Objection.OTHER_RELEASE
        self.facts = {**self.facts, "release": asked.number("sequence"), "release_phase": Phase.STAGED}
        return Outcome.DONE, Code.STAGED

    def _configuration(self, asked: Command, now: datetime) -> tuple[Outcome, Code]:
        if self._reported is not None and asked.number("version") <= self._reported.version:
            return Outcome.FAILED, Code.OLDER
        rejected = self._temper is Temper.REJECTS
        self._reported = Reported(
            box=self._box,
            ts=now,
            version=asked.number("version"),
            ring=asked.text("ring"),
            config=hashlib.sha256(asked.text("toml").encode()).hexdigest()[:16],
            phase=Phase.REJECTED if rejected else Phase.STAGED,
            faults=(FAULT,) if rejected else (),
        )
        return (Outcome.FAILED, Code.REJECTED) if rejected else (Outcome.DONE, Code.STAGED)

    def _after(self, phase: Phase) -> Phase:
        if phase is Phase.APPLIED and self._temper is Temper.FALLS_BACK:
            return Phase.ROLLED_BACK
        return _NEXT[phase]

    def _report(self, now: datetime, phase: Phase) -> None:
        assert self._reported is not None
        known = self._reported
        self._reported = Reported(
            box=self._box, ts=now, version=known.version, ring=known.ring, config=known.config, phase=phase
        )

    def _has(self, phase: Phase) -> bool:
        configuration = None if self._reported is None else self._reported.phase
        return phase in {configuration, self.facts.get("release_phase")}
