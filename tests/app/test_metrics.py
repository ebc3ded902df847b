"""The port of health for programs: /metrics and /healthz without a console, also when the box is not fit."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway import app
from gateway.app.health import start_health, start_metrics
from gateway.app.proofs import port_had
from gateway.app.watchdog import Watchdog
from gateway.config import Config
from gateway.config.loading import parse as parse_config
from gateway.domain.issues import KINDS
from gateway.domain.parts import Part
from gateway.net import http_server
from gateway.spool import Spool, audit, heartbeats
from tests.console.box import Served
from tests.journeys.gateway_process import ROOT, To, toml
from tests.journeys.reporting import until
from tests.peers.processes import HOST, free_port, run


@pytest.fixture
def config(tmp_path: Path) -> Config:
    text = toml(port=free_port(), to=[To(port=free_port())], scanners=["CT1"], runtime=tmp_path / "run")
    return parse_config(text.replace("[metrics]\nport = 0", f"[metrics]\nport = {free_port()}"), base=tmp_path)


class Box:
    """A spool whose parts are there or not, as a test has it, and the port of its health."""

    def __init__(self, config: Config) -> None:
        self.state = config.box.state
        self.spool = Spool.open(self.state, now=lambda: datetime.now(UTC))
        self.parts = {part: ExitStack() for part in (Part.EDGE, Part.FORWARD, Part.HEALTH)}
        for part in self.parts:
            self.be(part)
        self.served = Served(config.metrics.port)
        self.fed = False

    def be(self, part: Part) -> None:
        self.parts[part].enter_context(self.spool.claim(part))

    def kill(self, part: Part) -> None:
        self.parts[part].close()

    def alarms(self) -> list[tuple[str, str]]:
        return [(one.code, one.subject) for one in self.spool.db.write(audit.active_alarms).result()]

    def healthz(self) -> tuple[int, str]:
        status, headers, body = self.served.ask("/healthz")
        assert headers["cache-control"] == "no-store"
        told = json.loads(body)
        return status, told["detail"] if status != 200 else ""

    def close(self) -> None:
        for part in self.parts.values():
            part.close()
        self.spool.close()


@contextmanager
def running(config: Config) -> Iterator[Box]:
    box = Box(config)
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def life() -> None:
        started = start_metrics(config, box.spool, stop)
        box.fed = await Watchdog([started], seconds=60).round()
        ready.set()
        await asyncio.gather(*started.tasks)

    thread = threading.Thread(target=lambda: loop.run_until_complete(life()))
    thread.start()
    try:
        ready.wait(60)
        yield box
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()
        box.close()


def test_a_box_that_is_fit_says_so_and_shows_its_numbers(config: Config) -> None:
    with running(config) as box:
        assert box.fed, "its own page is a proof of its work"
        assert box.healthz() == (200, "")
        assert set(box.served.json("/healthz")) == {"at", "index_read", "disk_free_bytes"}
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in parse(box.served.text("/metrics"))
            for sample in family.samples
        }
        for part in box.parts:
            assert found["gateway_part_alive", part] == 1
            assert found["gateway_part_proof_age_seconds", part] < 120
        assert {key[1] for key in found if key[0] == "gateway_alarms"} == KINDS.keys()
        assert found["gateway_deliveries", "pacs", "waiting"] == 0
        assert found["gateway_needs_a_person",] == 0


def test_a_port_that_is_taken_is_an_alarm_and_no_reason_for_a_restart(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "RETRY_SECONDS", 0.05)
    with socket.create_server((HOST, config.metrics.port)) as other, running(config) as box:
        assert box.fed
        assert box.alarms() == [("port-taken", "metrics")]
        other.close()
        until(lambda: not box.alarms(), what="it has its port")
        assert box.healthz() == (200, "")


def test_a_port_that_nobody_wants_any_more_is_no_alarm(config: Config) -> None:
    spool = Spool.open(config.box.state, now=lambda: datetime.now(UTC))
    none = config.model_copy(update={"metrics": config.metrics.model_copy(update={"port": 0})})

    async def life() -> None:
        for section in ("metrics", "console"):
            port_had(spool, section, False)
        stop = asyncio.Event()
        stop.set()
        await asyncio.gather(*(await start_health(none, spool, stop)).tasks)

    try:
        asyncio.run(life())
        assert not spool.db.write(partial(audit.active_alarms, code="port-taken")).result()
    finally:
        spool.close()


def test_nothing_else_is_there_and_nothing_can_be_changed(config: Config) -> None:
    with running(config) as box:
        for path in ("/", "/api/v1/status", "/api/v1/tasks", "/metrics/", "/openapi.json"):
            assert box.served.ask(path)[0] == 404
        for path in ("/metrics", "/healthz"):
            assert box.served.ask(path, method="POST")[0] == 405
            assert box.served.ask(path, method="HEAD")[0] == 200


@pytest.mark.parametrize("part", [Part.EDGE, Part.FORWARD, Part.HEALTH])
def test_a_part_that_is_dead_or_hangs_makes_it_unfit(config: Config, part: Part) -> None:
    with running(config) as box:
        os.utime(box.state / f"{part}.lock", (0, 0))
        status, why = box.healthz()
        assert status == 503
        assert why.startswith(f"No sign of life of {part} for ")
        beat = partial(heartbeats.beat, part=part, now=datetime.now(UTC))
        box.spool.db.write(beat).result()
        assert box.healthz() == (200, "")
        box.kill(part)
        status, why = box.healthz()
        assert status == 503
        assert f"no process is its {part}." in why
        assert f'gateway_part_alive{{part="{part}"}} 0.0' in box.served.text("/metrics")
        box.be(part)
        assert box.healthz() == (200, "")


def test_a_spool_that_can_not_be_read_makes_it_unfit(config: Config) -> None:
    with running(config) as box:
        box.spool.db.write(lambda c: c.execute("DROP TABLE alarm")).result()
        assert box.healthz() == (503, "The spool can't be read; check the disk.")
        assert box.served.ask("/healthz")[1]["retry-after"] == "5"


@pytest.mark.slow
def test_everything_is_imported_before_anybody_is_served(tmp_path: Path) -> None:
    """An import holds the loop that scanners hang on: those of all roles are over when edge begins."""
    (tmp_path / "gateway.toml").write_text(toml(port=free_port(), runtime=tmp_path / "run"))
    code = f"""
import pathlib, sys
from gateway import app
from gateway.config import load

async def edge(*_, **__):
    print([one in sys.modules for one in app.PAGES.values()])
    raise SystemExit(0)

app.start_edge = edge
path = pathlib.Path({str(tmp_path / "gateway.toml")!r})
app.serve(load(path), frozenset(app.ROLES), source=path)
"""
    done = run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)})
    assert done.output.strip().splitlines()[-1] == str([True] * len(app.PAGES)), done.output
    assert {*app.PAGES} | app.EDGE == {*app.ROLES}
