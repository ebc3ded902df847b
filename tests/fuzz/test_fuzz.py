"""A short round of the fuzzer, everything it ever found, and proof that it finds what it looks for."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import engine
from tests.fuzz.mutate import CALLS, EXPLICIT, HALVES, IMPLICIT, ITEM, PDU, Format, pieces_of
from tests.fuzz.targets import CORPUS, TARGETS, Target
from tests.fuzz.trial import MEMORY, Finding, Outcome, Trials, under_trial

ROOT = Path(__file__).parents[2]
SMOKE = 3000
SAVED = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_round_finds_nothing(tmp_path: Path) -> None:
    """In a process of its own, as always; without libFuzzer, so that the inputs are the same on every machine."""
    command = [sys.executable, "-m", "tests.fuzz", "--plain", "--seed", "7", "--inputs", str(SMOKE)]
    run = subprocess.run([*command, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 findings" in run.stdout.splitlines()[-1]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_is_mended(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_seeds_are_valid_inputs_of_several_kinds(target: Target) -> None:
    """A target whose seeds are all refused at once would test nothing behind that refusal."""
    seeds = target.seeds()
    answers = {target.check(seed) for seed in seeds}
    assert target.name == "commitments" or len(seeds) == 1 or len(answers) > 1
    assert not all(answer.startswith("PduError") or "Error(" in answer for answer in answers)
    assert all(len(seed) <= 1 << 16 for seed in seeds)


@pytest.mark.parametrize(
    ("form", "name", "prefix"),
    [
        (PDU, "pdus", 1),
        (CALLS, "association", 1),
        (IMPLICIT, "commands", 0),
        (ITEM, "requests", 68),
        (EXPLICIT, "files", 132),
        (HALVES, "query", 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pieces_put_together_are_the_input(form: Format, name: str, prefix: int) -> None:
    for seed in TARGETS[name].seeds():
        pieces, _ = pieces_of(seed[prefix:], form)
        assert pieces
        assert seed[prefix:].startswith(b"".join(map(form.write, pieces[:-1])))


def test_the_same_seed_makes_the_same_inputs() -> None:
    target = TARGETS["association"]
    seeds = target.seeds()

    def made(seed: int) -> list[bytes]:
        random = Random(seed)
        return [target.mutated(random.choice(seeds), random, seeds) for _ in range(50)]

    assert made(1) == made(1)
    assert made(1) != made(2)


# -- planted faults --


def _crash(data: bytes) -> str:
    return str(data[4])


def _hang(data: bytes) -> str:
    while data:
        pass
    return ""


def _greed(data: bytes) -> str:
    """Beyond the most that this process ever needed, which earlier tests may have raised."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    taken = bytearray(most - now + 2 * MEMORY)
    taken[:: 1 << 12] = b"\1" * (len(taken) >> 12)
    return str(len(taken) + len(data))


@pytest.fixture
def trials(tmp_path: Path) -> Callable[[Callable[[bytes], str]], Trials]:
    return lambda check: Trials("planted", check, tmp_path)


@pytest.mark.parametrize(
    ("check", "kind"), [(_crash, "IndexError"), (_hang, "Hang"), pytest.param(_greed, "Greed", marks=pytest.mark.slow)]
)
def test_a_planted_fault_is_found_and_kept(
    trials: Callable[[Callable[[bytes], str]], Trials], check: Callable[[bytes], str], kind: str, tmp_path: Path
) -> None:
    run = trials(check)
    run.attempt(b"abc")
    run.attempt(b"abe")
    (finding,) = run.outcome.findings
    assert finding.kind.startswith(kind)
    assert Path(finding.path).read_bytes() in {b"abc", b"abe"}
    assert Path(finding.path).parent.name == "planted"
    assert under_trial(tmp_path, "planted") == b"abe"
    assert Outcome.read(tmp_path / "planted.json").findings == [finding]


def test_a_finding_is_the_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the planted fault through the processes to what `make fuzz` returns."""
    from tests.fuzz import __main__ as campaign

    planted = Finding(target="text", kind="IndexError", where="here", path=str(tmp_path / "x"))
    outcome = Outcome(target="text", tried=10, findings=[planted])
    monkeypatch.setattr(campaign, "_run", lambda *_: outcome)
    monkeypatch.setattr(
        sys, "argv", ["fuzz", "--target", "text", "--inputs", "10", "--plain", "--folder", str(tmp_path)]
    )
    assert campaign.main() == 1
    outcome.findings.clear()
    assert campaign.main() == 0
    outcome.tried = 9
    assert campaign.main() == 1


@pytest.mark.slow
@pytest.mark.skipif(not engine.guided_available(), reason="atheris is not installed")
def test_libfuzzer_sees_the_gateways_edges(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.worker", "guided", "requests", "600", "1", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ})
    assert "cov: " in run.stderr
    assert Outcome.read(tmp_path / "requests.json").tried == 600
