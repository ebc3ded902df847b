"""The reporting process is killed (-9) again and again: central has every event of every study, each once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from gateway.domain.telemetry import State
from gateway.spool import Connection, Spool, outbox, study_events
from tests.journeys.gateway_process import ROOT
from tests.journeys.reporting import until
from tests.peers.central import Broker, Central, Heard, broker

pytestmark = pytest.mark.safety

BOX = "ct1-room"
KILLS = int(os.environ.get("GATEWAY_KILLS", "2"))
STUDIES = 20
"""In each life of the process."""
KEEPALIVE = 2
HERE = {"ready", "alert"}
"""Reporting runs alone: as soon as it has looked, it says that the other parts do not."""
OFFLINE_KNOWN = 45.0
"""Seconds, at a keep-alive of 20 s; here it is a tenth."""


def configured(folder: Path, to: Broker) -> Path:
    identity = to.authority.identity(BOX)
    path = folder / "gateway.toml"
    path.write_text(
        f"""
[site]
name = "north"
timezone = "Europe/Berlin"
[box]
id = "{BOX}"
state = "{folder / "state"}"
[[destination]]
name = "pacs"
host = "127.0.0.1"
ae = "PACS"
confirm = "status"
compression = "none"
[mqtt]
host = "127.0.0.1"
port = {to.port}
ca = "{to.authority.ca}"
certificate = "{identity.certificate}"
key = "{identity.key}"
keepalive = "{KEEPALIVE}s"
retry = {{ base = "200ms", cap = "1s" }}
health = "5s"
""",
        "utf-8",
    )
    return path


@contextmanager
def process(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (configuration.parent / "log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "reporting", "--config", configuration],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        yield started
    finally:
        started.kill()
        started.wait(30)


def studies(c: Connection, *, first: int) -> None:
    """What forward would enter of studies that came and went."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    for number in range(first, first + STUDIES):
        for event in study_events.StudyState:
            c.execute(
                "INSERT INTO study_event (StudyInstanceUID, event, at, images) VALUES (?, ?, ?, 1)",
                (f"1.2.3.{number}", event, now),
            )


def told(heard: Heard) -> list[tuple[str, str]]:
    """The kind and the study of every study event, as often as it is there."""
    return [(one["kind"], one["study"]) for log in heard.events.values() for one in log.values() if one.get("study")]


def test_killed_again_and_again(tmp_path: Path) -> None:
    to = broker(tmp_path / "broker")
    central = Central(to)
    heard = central.box(BOX)
    chance = random.Random(8)
    configuration = configured(tmp_path, to)
    spool = Spool.open(tmp_path / "state", now=partial(datetime.now, UTC))
    try:
        with to.running(), central.listening():
            for life in range(KILLS):
                with process(configuration):
                    spool.db.write(partial(studies, first=life * STUDIES)).result()
                    some = len(told(heard)) + chance.randrange(STUDIES)
                    until(lambda some=some: len(told(heard)) > some, what="some of it is told")  # type: ignore[misc]
            with process(configuration) as last:
                expected = KILLS * STUDIES * 3
                until(lambda: len(told(heard)) == expected, what="all is told")
                until(lambda: outbox.state(spool.db.read()).waiting == 0, what="all is acknowledged")
                until(lambda: heard.states[-1][0] in HERE, what="it is there")
                silent(last, heard)
                last.send_signal(signal.SIGTERM)
                assert last.wait(100) == 0
            until(lambda: heard.states[-1][0] == "disconnected", what="its end in order is told")
        stands = outbox.state(spool.db.read())
    finally:
        spool.close()
    assert set(heard.events) == {stands.log}
    assert len(set(told(heard))) == len(told(heard)) == expected
    assert heard.whole(stands.log) >= stands.acked
    assert sum(one == "started" for one in heard.kinds()) == KILLS + 1
    assert b"1.2.3." not in b"".join(payload for _, payload in central.raw)


def silent(running: subprocess.Popen[bytes], heard: Heard) -> None:
    """It stands still with its socket open, as behind a cut cable: the broker tells, and it comes back by itself."""
    os.kill(running.pid, signal.SIGSTOP)
    until(lambda: heard.states[-1][0] == "lost", what="it is known to be lost", limit=OFFLINE_KNOWN / 10 * 3)
    assert heard.presence is not None
    assert heard.presence.state is State.LOST
    os.kill(running.pid, signal.SIGCONT)
    until(lambda: heard.states[-1][0] in HERE, what="it is there again")
