"""The bundle for support: how a box is built and how it is doing, without a patient, an address or a secret.

What is promised: what goes in is counted, listed or redacted (`gateway.domain.diagnosis`); no row of the books and no
image is copied. `contents.json` says what is in it and what was left out. Reading disturbs nobody: one read
transaction, and the log as the system keeps it.
"""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import distributions, version
from typing import Any, Final

from gateway.config import Config
from gateway.domain.diagnosis import Pseudonyms, excerpt, redacted
from gateway.spool import Connection, books, commands, health, outbox
from gateway.spool.overview import look

LINES: Final = 5_000
"""The last of the log."""
JOURNAL_SECONDS: Final = 20
KEPT: Final = 3
"""Bundles that central asked for."""
LEFT_OUT: Final = {
    "images": "No image and no header of one; only how many there are in which state.",
    "rows": "No row of the books: no worklist, order, message, task or decision; only how many there are.",
    "names": "Names, AE titles and addresses of the configuration stand as pseudonyms, each the same everywhere.",
    "texts": "Any other text of the configuration, paths and secrets among them, stands as its length.",
    "log": "Of each line of the log only the keys that may leave the box (docs/operations/syslog.md).",
}


def bundle(config: Config, c: Connection, *, lines: Sequence[str] | None, now: datetime) -> bytes:
    """The bundle, a tar.gz. `lines` are those of the log; None: there is none to be had."""
    pseudonyms = Pseudonyms()
    parts: dict[str, Any] = {
        "configuration.json": redacted(config.model_dump(mode="json"), pseudonyms),
        "versions.json": _versions(c),
        "counts.json": _counts(config, c, pseudonyms, now),
        "timings.json": _timings(c, pseudonyms),
        "commands.json": _commands(c),
    }
    left_out = dict(LEFT_OUT)
    if lines is None:
        left_out["log"] = "The log: this system keeps none that can be read here; name a file with --log."
    else:
        parts["log.json"] = list(excerpt(lines[-LINES:], names=config.names, pseudonyms=pseudonyms))
    parts["contents.json"] = {"made_at": now, "files": sorted(parts), "left_out": left_out}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, part in parts.items():
            text = json.dumps(part, indent=1, default=str).encode()
            entry = tarfile.TarInfo(f"diagnosis/{name}")
            entry.size, entry.mtime = len(text), int(now.timestamp())
            tar.addfile(entry, io.BytesIO(text))
    return packed.getvalue()


def keep(config: Config, c: Connection, *, now: datetime) -> None:
    """Write a bundle where it can be fetched from, beside the last few. Raises OSError."""
    folder = config.box.state / "diagnosis"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = bundle(config, c, lines=journal(), now=now)
    (folder / f"{now:%Y%m%dT%H%M%SZ}.tar.gz").write_bytes(made)
    for old in sorted(folder.glob("*.tar.gz"))[:-KEPT]:
        old.unlink()


def journal() -> list[str] | None:
    """The last of the log of our units, as journald has it; None: it has none for us."""
    program = shutil.which("journalctl")
    if program is None:
        return None
    command = [program, "--unit=gateway-*", f"--lines={LINES}", "--output=cat", "--no-pager", "--quiet"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=JOURNAL_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").splitlines() or None


def _versions(c: Connection) -> dict[str, Any]:
    return {
        "gateway": version("modality-gateway"),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "sqlite": c.execute("SELECT sqlite_version()").fetchone()[0],
        "installed": sorted(f"{one.name} {one.version}" for one in distributions()),
        "schema": books.migrations(c),
    }


def _counts(config: Config, c: Connection, pseudonyms: Pseudonyms, now: datetime) -> dict[str, Any]:
    seen = look(c, config.configured, now=now)
    return {
        "rows": books.sizes(c),
        "images": {state.value: count for state, count in seen.instances.items()},
        "quarantined": seen.quarantined,
        "tasks": seen.tasks,
        "studies_held": seen.studies_held,
        "turned_away": sum(one.count for one in seen.strangers),
        "parts": {one.part.value: one.found(now) or "lives" for one in seen.parts},
        "issues": [
            {"code": one.code, "severity": one.severity.value, "since": one.since, "last": one.last}
            for one in health.issues(c, parts=config.configured.parts, now=now)
        ],
        "destinations": [
            {
                "name": pseudonyms.of("name", one.name),
                "waiting": one.waiting,
                "sent": one.sent,
                "refused": one.refused,
                "oldest_s": None if one.oldest is None else (now - one.oldest).total_seconds(),
            }
            for one in seen.destinations
        ],
        "worklists": [
            {
                "name": pseudonyms.of("name", one.name),
                "rows": one.rows,
                "age_s": None if one.last_success is None else (now - one.last_success).total_seconds(),
                "failing": bool(one.last_error),
            }
            for one in seen.worklist
        ],
        "disk": None if seen.disk is None else asdict(seen.disk),
        "outbox": outbox.state(c).waiting,
    }


def _timings(c: Connection, pseudonyms: Pseudonyms) -> dict[str, Any]:
    return {
        "probes": [
            {
                "peer": pseudonyms.of("name", one.peer),
                "hop": one.hop.value,
                "at": one.at,
                "last_good": one.last_good,
                "latency_ms": one.latency_ms,
                "code": one.code,
            }
            for one in health.probes(c)
        ],
        "readings": {name.value: value for name, value in health.readings(c).items()},
    }


def _commands(c: Connection) -> dict[str, Any]:
    return {
        "latest": [
            {"name": one.name, "state": one.state, "code": one.code, "at": one.received_at}
            for one in commands.latest(c, limit=100)
        ],
        "turned_away": {one.reason: one.count for one in commands.turned_away(c)},
    }
