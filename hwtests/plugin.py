"""The pytest plugin that makes lines of tests: what rests on what, what is not there, what was measured.

What is promised: every collected test ends as exactly one `Line`, told as soon as it has ended. An exception that is
none of ours fails its line with its type and place, never with its text. `State.PASSED` is reached in one way: the
test ran to its end, raised nothing, and judged or told at least one figure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config import Config
from hwtests import network
from hwtests.machine import Machine
from hwtests.outcome import Fault, Line, Measured, NotAsked, NotPresent, NotTested, State
from hwtests.peers import Peers
from hwtests.profile import Profile
from hwtests.watchdog import Armed

NAME: Final = "commissioning"
FILES: Final = (
    "test_network.py",
    "test_disk.py",
    "test_clock.py",
    "test_host.py",
    "test_peers.py",
    "test_gateway.py",
    "test_load.py",
    "test_watchdog.py",
)
"""In this order: what a line needs stands above it."""
MARK: Final = "line"
NO_SERVER: Final = "none named"
NONE: Final = "-"
"""In place of a subject where there is nothing to test of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is tested, with what limits."""

    config: Config
    settings: Path
    """The file that `config` was read from."""
    profile: Profile
    machine: Machine
    store: bool = True
    """Images of no patient may be stored at the destinations."""
    fires: bool = False
    """The watchdog is let fire after all else, so its line comes later."""
    untried: str = ""
    """Why it could not be let fire, if that was tried."""
    armed: Armed | None = None
    """What was begun before the restart; else there was none."""
    record: Path
    """Where that is kept."""
    only: tuple[str, ...] = ()
    """Lines to test, by the beginning of their names; empty: all."""

    @property
    def peers(self) -> Peers:
        return Peers(config=self.config)

    @property
    def interfaces(self) -> Sequence[str]:
        """Those of the profile, or all that there are."""
        return self.profile.network.interfaces or network.wired(self.machine)


def line(name: str, title: str, *, needs: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Make a line of a test. `needs`: the lines that it rests on, of its own subject where they have it."""
    mark: pytest.MarkDecorator = getattr(pytest.mark, MARK)
    return mark(name, title, tuple(needs))


@dataclass(slots=True, eq=False)
class Commissioning:
    """One run."""

    plan: Plan
    tell: Callable[[Line], None] = lambda _: None
    lines: list[Line] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    """Of every line that there is, selected or not."""
    frames: dict[str, int] = field(default_factory=dict)
    """Broken frames on each interface when the tests began."""
    _measured: dict[str, Measured] = field(default_factory=dict)

    def run(self, junit: Path | None = None) -> None:
        """Run the lines, in order. Raises Fault if pytest itself could not."""
        self.frames = {name: network.broken_frames(self.plan.machine, name) for name in self.plan.interfaces}
        here = Path(__file__).parent
        options = ["-c", os.devnull, "--rootdir", str(here), "--confcutdir", str(here), "--import-mode=importlib"]
        options += ["-p", "no:cacheprovider", "--assert=plain", "--capture=no", "-p", "no:logging"]
        options += ["-o", "junit_suite_name=gateway-commission"]
        options += ["--junitxml", str(junit)] if junit else ["--collect-only"]
        kept = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", _AUTOLOAD)}
        os.environ[_AUTOLOAD] = "1"  # only what this needs, whatever else is installed
        try:
            status = pytest.main([*options, *(str(here / name) for name in FILES)], plugins=[self])
        finally:
            del os.environ[_AUTOLOAD]
            os.environ.update({name: value for name, value in kept.items() if value is not None})
        if status not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}:
            raise Fault(f"the tests could not be run (pytest ends with {int(status)}); install the gateway again")

    def measured(self, item: str) -> Measured:
        """The figures of a test."""
        return self._measured.setdefault(item, Measured())

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Say nothing in pytest's own words."""
        config.addinivalue_line("markers", f"{MARK}(name, title, needs): a line of the report")
        config.pluginmanager.unregister(name="terminalreporter")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One line for each interface, time server and peer."""
        peers = self.plan.peers
        kinds: Mapping[str, Sequence[str]] = {
            "nic": self.plan.interfaces,
            "server": self.plan.profile.clock.ntp or [NO_SERVER],
            "ris": [*peers.rises],
            "destination": [*peers.destinations],
            "peer": [*peers.rises, *peers.destinations],
            "networked": [*peers.hosts],
        }
        for kind in kinds.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(kind, list(kinds[kind]) or [NONE])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what was asked for."""
        self.titles = {_mark(item)[0]: _mark(item)[1] for item in items}
        if self.plan.only:
            items[:] = [item for item in items if _mark(item)[0].startswith(self.plan.only)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let alone what rests on something that did not pass."""
        needs, subject = _mark(item)[2], _subject(item)
        for need in needs:
            below = [one for one in self.lines if one.name == need]
            below = [one for one in below if one.subject == subject] or below
            if not below or any(one.state is State.PASSED for one in below):
                continue
            if all(one.state is State.NOT_PRESENT for one in below):
                raise _Absent(f"see {below[0].id}")
            raise NotTested(f"blocked by {next(one.id for one in below if one.state is not State.NOT_PRESENT)}")
        if not subject and hasattr(item, "callspec"):
            raise _Absent("the configuration names none")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Turn how a test ended into its line, and into what pytest makes of it in JUnit's form."""
        report = yield
        if call.excinfo is None and call.when != "call":
            return report
        name, title, _ = _mark(item)
        measured = tuple(self.measured(item.nodeid).found)
        state, why = _ended(call.excinfo.value if call.excinfo else None, self.plan.profile)
        if state is State.PASSED and not measured:
            state, why = State.FAILED, "it measured nothing; report this as a fault of the tests"
        self._told(
            Line(
                name=name,
                subject=_subject(item),
                title=title,
                state=state,
                why=why,
                asked=not (call.excinfo and isinstance(call.excinfo.value, NotAsked)),
                measured=measured,
                seconds=round(call.duration, 3),
            )
        )
        report.user_properties = [(one.what, f"{one.value} {one.unit} {one.limit}".strip()) for one in measured]
        if state is State.PASSED:
            report.outcome = "passed"
        elif state is State.FAILED:
            report.outcome, report.longrepr, report.when = "failed", why, "call"
        else:
            report.outcome, report.longrepr = "skipped", (item.nodeid, 0, f"{state}: {why}")
        return report

    def _told(self, line: Line) -> None:
        self.lines = [*(one for one in self.lines if one.id != line.id), line]
        self.tell(line)


_AUTOLOAD: Final = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"


class _Absent(Exception):
    """What this would be tested on is not there, which another line has judged."""


def _ended(error: BaseException | None, profile: Profile) -> tuple[State, str]:
    match error:
        case None:
            return State.PASSED, ""
        case NotPresent() if error.part in {str(part) for part in profile.expects}:
            return State.FAILED, f"not present, and the profile expects it: {error}"
        case NotPresent() | _Absent():
            return State.NOT_PRESENT, str(error)
        case NotTested():
            return State.NOT_TESTED, str(error)
        case Fault():
            return State.FAILED, str(error)
        case _:
            return State.FAILED, f"{type(error).__name__} {_place(error)}; report this as a fault of the tests"


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""


def _mark(item: pytest.Item) -> tuple[str, str, tuple[str, ...]]:
    mark = item.get_closest_marker(MARK)
    if mark is None:
        raise Fault(f"{item.name} is no line")
    name, title, needs = mark.args
    return name, title, needs


def _subject(item: pytest.Item) -> str:
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    found = str(next(iter(parameters.values()), ""))
    return "" if found == NONE else found
