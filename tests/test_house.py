"""The gates of the house as tests, so that `pytest` alone tells the truth (house style 4.1, 4.2)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
MODULE_LINES = 400
FUNCTION_LINES = 60
# Where a test must let real time pass, each with its reason
MAY_SLEEP: dict[str, str] = {
    "tests/peers/test_peers.py": "is pynetdicom's own thread, late on purpose, until the answer is there",
    "tests/powercut/test_rig.py": "looks again and again at the ledger that another process writes",
    "tests/safety/test_disk_errors.py": "looks again and again at the ledger that another process writes",
    "tests/safety/test_kill.py": "the random moment of a kill",
    "tests/safety/test_mpps_kill.py": "the random moment of a kill",
    "tests/safety/test_power.py": "the random moment of a power cut",
}
MACHINE_PATHS = re.compile(r"/(?:work|opt|root)/[a-z.]|/home/[a-z]", re.IGNORECASE)
REGISTRY_HOSTS = re.compile(
    "|".join(
        [r"pypi\." + "org", r"python" + r"hosted\.", r"registry\.npm" + "js", r"deb\.deb" + "ian", r"index-" + "url"]
    )
)
GENERATED = {"LICENSE", "Makefile"}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules() -> list[Path]:
    return sorted(path for package in ("gateway", "hwtests") for path in (ROOT / package).rglob("*.py"))


def run(*command: str) -> None:
    """Run a gate; its own words are the message of the failure."""
    done = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def test_format() -> None:
    run("ruff", "format", "--check", "--diff", "--no-cache", ".")


def test_lint() -> None:
    run("ruff", "check", "--no-cache", "--output-format=concise", ".")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_types() -> None:
    run("mypy", "--strict", "gateway", "hwtests")


@pytest.mark.slow
def test_floors() -> None:
    run("lint-imports", "--no-cache")


def test_spelling() -> None:
    names = [str(path.relative_to(ROOT)) for path in tracked() if path.suffix not in {".lock", ".dcm"}]
    run("codespell", *names)


def test_modules_stay_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > MODULE_LINES} == {}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_stay_short() -> None:
    lengths = dict(found for path in modules() for found in functions(path))
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_migrations_are_numbered_without_twins_or_gaps() -> None:
    """They are applied by name. Whoever lands second takes the next free number; what was released is never renamed."""
    numbers = [path.name.split("_")[0] for path in sorted((ROOT / "gateway" / "spool" / "schema").glob("*.sql"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_modules_state_their_contract() -> None:
    without = [
        path for path in modules() if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert [str(path.relative_to(ROOT)) for path in without] == []


def texts() -> Iterator[tuple[str, str]]:
    for path in tracked():
        try:
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize("forbidden", [MACHINE_PATHS, REGISTRY_HOSTS], ids=["machine-paths", "registry-hosts"])
def test_nothing_names_this_machine_or_a_registry(forbidden: re.Pattern[str]) -> None:
    found = [f"{name}: {hit[0]}" for name, text in texts() if (hit := forbidden.search(text)) and name not in GENERATED]
    assert found == []


def test_no_test_sleeps() -> None:
    """A sleep is either too short on a slow machine or too long on a fast one."""
    sleeping = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if str(path.relative_to(ROOT)) not in MAY_SLEEP
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
    ]
    assert sleeping == []


def test_no_image_or_message_lies_about() -> None:
    """Anything that could be a patient's stays out of the repository: tests build theirs."""
    suffixes = {".dcm", ".hl7", ".ima", ".db", ".sqlite"}
    assert [str(path.relative_to(ROOT)) for path in tracked() if path.suffix.lower() in suffixes] == []


LOG_CALLS = {"debug", "info", "warning", "error", "exception"}
# Where the words of a log line are a variable, each with where they come from
MAY_PASS_WORDS_ON = {
    "gateway/net/codec.py": "one of two sentences of its own",
    "gateway/net/mllp_server.py": "sentences of its own, through a limit of their rate",
}


def test_what_is_logged_is_said_in_words_of_ours() -> None:
    """The words of a line leave the box by syslog; a value belongs into a key, where it is looked at."""
    others = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        if str(path.relative_to(ROOT)) not in MAY_PASS_WORDS_ON
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOG_CALLS
        and ast.unparse(node.func.value) == "log"
        and not (node.args and isinstance(node.args[0], ast.Constant))
    ]
    assert others == []
