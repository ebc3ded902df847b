"""The command line as a whole: exit status, one line per error, and nothing made where nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from gateway import app as wiring
from gateway.cli import simulate
from gateway.cli.commands import app
from gateway.cli.serve import chosen
from gateway.simulate.pacs import PacsBehaviour
from gateway.simulate.ris import RisBehaviour
from gateway.simulate.study import Modality
from tests.cli.site import STUDY, Site

READERS = (
    ["status"],
    ["queue"],
    ["queue", "--refused"],
    ["study", STUDY],
    ["worklist", "--rows"],
    ["worklist", "explain", "--aet", "CT1", "--accession", "A1"],
    ["peers"],
)
DECISIONS = (
    ["retry", "--refused"],
    ["release", "0" * 22],
    ["peers", "add", "MR7"],
    ["peers", "remove", "MR7"],
    ["worklist", "erase", "--patient", "P1"],
)


def gateway(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The program as a person starts it."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--temper", "7=sulks"), "write it as 7=rejects"), (("--keys", "."), "there is no *.pem in that folder")],
)
def test_a_fleet_that_can_not_be_played_is_said(words: tuple[str, str], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["simulate", "fleet", words[0], words[1].replace(".", str(tmp_path))])
    assert (done.exit_code, said in done.stderr) == (2, True)


@pytest.mark.parametrize("words", [*READERS, *DECISIONS], ids=" ".join)
def test_no_command_makes_a_spool(site: Site, words: list[str]) -> None:
    done = site.run(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "start the gateway once" in done.stderr
    assert not site.state.exists()


@pytest.mark.parametrize("words", [*READERS, *DECISIONS], ids=" ".join)
def test_a_damaged_database_is_one_line(site: Site, words: list[str]) -> None:
    site.state.mkdir()
    (site.state / "gateway.db").write_bytes(b"no database" * 999)
    done = site.run(*words)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert ("the database is damaged: stop the gateway" if words in DECISIONS else "SQLITE_NOTADB") in done.stderr


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_reader_changes_nothing(site: Site, words: list[str]) -> None:
    site.route(*site.receive(b"one"))
    site.refuse_all()
    site.close()  # the gateway does not run
    before = (site.state / "gateway.db").read_bytes()
    assert site.run(*words).exit_code in {0, 1}
    assert (site.state / "gateway.db").read_bytes() == before


def test_a_database_of_another_version_is_not_read(site: Site) -> None:
    site.write(lambda c: c.execute("INSERT INTO migration (name, applied_at) VALUES ('9999_later.sql', '')"))
    site.write(lambda c: c.execute("PRAGMA user_version = 9999"))
    done = site.run("status")
    assert done.exit_code == 2
    assert "newer than this gateway" in done.stderr


def test_a_sound_configuration(site: Site) -> None:
    done = site.run("check-config")
    assert (done.exit_code, done.stdout) == (
        0,
        "configuration holds: 1 listener, 1 scanner, 1 RIS, 1 destination\n",
    )


def test_every_fault_of_the_configuration_has_its_line(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace('confirm = "commitment"', 'confirm = "hope"\nprot = 3'))
    done = site.run("check-config")
    assert done.exit_code == 1
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        "destination[pacs].confirm",
        "destination[pacs].prot",
    ]
    assert site.run("status").exit_code == 2  # it could not be asked


def test_the_environment_names_the_configuration(site: Site) -> None:
    done = gateway("check-config", GATEWAY_CONFIG=str(site.config))
    assert done.returncode == 0
    assert done.stdout.startswith("configuration holds")


def test_expected_errors_have_no_traceback(tmp_path: Path) -> None:
    done = gateway("status", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_role_that_does_not_exist(site: Site) -> None:
    done = site.run("serve", "store")
    assert done.exit_code == 2
    assert 'did you mean "storage"?' in done.stderr


def test_all_means_every_role() -> None:
    every = frozenset(wiring.ROLES)
    assert chosen(["all"], known=every) == every
    assert chosen(["storage", "all"], known=every) == every
    assert chosen(["worklist", "storage"], known=every) == {"worklist", "storage"}


def test_the_words_of_the_simulators_are_all_offered() -> None:
    assert set(get_args(simulate.PacsMood)) == {mood.value for mood in PacsBehaviour}
    assert set(get_args(simulate.RisMood)) == {mood.value for mood in RisBehaviour}
    assert set(get_args(simulate.ScannerKind)) == {kind.value for kind in Modality}


def test_every_command_explains_itself() -> None:
    for word in ("serve", "check-config", "status", "queue", "study", "worklist", "peers", "retry", "release"):
        assert len(gateway(word, "--help").stdout.splitlines()) > 5


LOGS = """
import logging, sys, warnings
import structlog
from gateway.cli.logs import log_to_stderr
log_to_stderr(sys.argv[1])
log = structlog.get_logger()
log.info("received", instance="a1", size=3)
warnings.warn("SECRET")
logging.getLogger("pydicom").error("SECRET %s", "SECRET")
try:
    raise ValueError("SECRET")
except ValueError:
    log.error("fell", exc_info=True)
    logging.getLogger("asyncio").exception("SECRET")
"""


def test_the_log_says_what_happened_and_nothing_of_others() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS, "info"], capture_output=True, text=True, check=True, timeout=180)
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert "SECRET" not in done.stderr
    assert lines[0].startswith("timestamp=20")
    assert lines[0].split(" ", 1)[1] == "level=info event=received instance=a1 size=3"
    assert lines[0].split(" ")[0].endswith("Z")
    assert len(lines) == 5
    assert "error=ValueError" in lines[3]
    assert "logger=asyncio" in lines[4]


@pytest.mark.parametrize("taker", ["open('/dev/full', 'w')", "open(reader_gone(), 'w')"])
def test_a_log_that_nobody_takes_fails_nobody(taker: str) -> None:
    """A full disk, a reader that has gone: what can't be told is lost, and who tells it goes on."""
    begin = (
        "import os, sys\ndef reader_gone():\n    reader, writer = os.pipe()\n    os.close(reader)\n    return writer"
    )
    script = f"{begin}\nsys.stderr = {taker}\n{LOGS}\nos.write(1, b'all was told')\nos._exit(0)"
    done = subprocess.run([sys.executable, "-c", script, "info"], capture_output=True, check=False, timeout=180)
    assert done.stdout == b"all was told"


def test_the_log_level_is_the_least_that_is_logged() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGS, "error"], capture_output=True, text=True, check=True, timeout=180
    )
    assert "event=received" not in done.stderr
    assert "event=fell" in done.stderr
