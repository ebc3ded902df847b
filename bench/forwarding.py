"""The tables of forwarding where the way is narrow: a slow or dead destination, a link of 20 Mbit/s, a STAT study.

Every gateway here is the processes of a site, `gateway serve ...` with a configuration, beginning with a spool on the
disk; what happened when is read from its own books. Needs root, for links have a speed (`bench.links`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import servers
from bench.links import FAR, Link, at, link, listening
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.pictures import pictures
from bench.places import environment, python
from bench.sending import PACS, copy_spool, filled_spool
from bench.sizes import Size
from gateway.domain.model import DestinationName, Lane
from gateway.spool.db import Connection, open_reader
from gateway.spool.times import from_text, to_text
from tests.peers.processes import HOST, free_port

LONGEST: Final = 900.0
LOOK_SECONDS: Final = 0.1
THREE: Final = (DestinationName("one"), DestinationName("two"), DestinationName("three"))
TWO: Final = THREE[:2]
WAN: Final = 20.0
"""Mbit/s."""
EMERGENCY: Final = "ER"
"""The AE title of the scanner whose images are STAT."""
SINK: Final = ("--fork", "--ignore", "-pdu", "131072")


# -- one of three destinations is slow or dead --

HEALTHY: Final = "third healthy"
SLOW: Final = "third at 1 Mbit/s"
SILENT: Final = "third dead: accepts and never answers"
GONE: Final = "third dead: its host is gone"
ALONE: Final = "two alone"


def slow(size: Size) -> Table:
    return Table(
        name="slow",
        environment="tuned",
        title="Three destinations, and what the third does to the other two",
        note=(
            "The forward role sends a filled spool to three storescp --ignore, the third over a link of its own; the "
            "figures are of the first two together, from the first claim of either to its last answer. Over the "
            "loopback they take all that two cores send: a healthy third costs them their share, a dead one leaves it "
            "to them. The harder comparison is with a gateway that has two destinations only."
        ),
        columns=(Column(metric="per_s", title="objects/s of the two"), Column(metric="third", title="third's objects")),
        cells=[Cell(case="mr", variant=name, run=_slow(size, name)) for name in (HEALTHY, SLOW, SILENT, GONE, ALONE)],
        targets=[
            Target(clause="slow", case="mr", metric="per_s", ours=name, beside=other, at_least=0.9)
            for name in (SLOW, SILENT, GONE)
            for other in (HEALTHY, ALONE)
        ],
        compared=False,
    )


def _slow(size: Size, variant: str) -> Callable[[Path], Sample]:
    def run(folder: Path) -> Sample:
        files = size.files("mr, slow")
        names = TWO if variant == ALONE else THREE
        copy_spool(filled_spool(files, "mr, slow", destinations=names), folder / "state")
        with (
            link(1.0 if variant == SLOW else None) as between,
            _sink(between.near, folder / "one") as one,
            _sink(between.near, folder / "two") as two,
            _third(between, folder / "three", variant) as three,
        ):
            places = {"one": (HOST, one), "two": (HOST, two), "three": (FAR, three)}
            config = _config(folder, {name: places[name] for name in names})
            with _forwarding(between, folder, config), _books(folder / "state") as books:
                _until(lambda: all(_confirmed(books, name) == len(files) for name in TWO), "two of three destinations")
                third = _confirmed(books, "three")
                took = max(_last(books, name) for name in TWO) - min(_first(books, name) for name in TWO)
        return {"per_s": 2 * len(files) / took.total_seconds(), "third": third}

    return run


@contextmanager
def _third(between: Link, folder: Path, variant: str) -> Iterator[int]:
    if variant in {GONE, ALONE}:
        between.down()
        yield free_port()
        return
    port = free_port()
    with listening(between.far, _storescp(*SINK, port=port), port=port, folder=folder) as process:
        if variant == SILENT:
            process.send_signal(signal.SIGSTOP)
        yield port


# -- a link of 20 Mbit/s --

GATEWAY: Final = "gateway, lossless"
PLAIN: Final = "storescu, uncompressed"
BEFORE: Final = "dcmcjpls, then dcmsend"
TAKES_JPEG_LS: Final = ("--fork", "--prefer-jls-lossless")


def narrow(size: Size) -> Table:
    case = f"{size.counts['ct']} CT slices"
    runs = {GATEWAY: _lossless, PLAIN: _plain, BEFORE: _compressed_before}
    return Table(
        name="link",
        environment="tuned",
        title="A CT study over a link of 20 Mbit/s",
        note=(
            "Shaped by tc-tbf in a network namespace, no delay added; at its far end storescp keeps the objects. "
            "Seconds until the last object is there. Ours: from the start of the process `gateway serve forward`, the "
            "start of Python in it, over a spool that has just been received: it checks, compresses, verifies every "
            "frame, sends, and confirms. storescu: from its start to its end. dcmsend: the same, with the time of "
            "dcmcjpls before it, one on each core."
        ),
        columns=(Column(metric="seconds", title="seconds", digits=1), Column(metric="mb", title="MB there", digits=1)),
        cells=[Cell(case=case, variant=name, run=_over_link(size, run)) for name, run in runs.items()],
        targets=[
            Target(clause="link", case=case, metric="seconds", ours=GATEWAY, beside=beside, at_least=ratio)
            for beside, ratio in ((PLAIN, 3.0), (BEFORE, 1.0))
        ],
        lower_is_better=True,
        ours=GATEWAY,
    )


Sending = Callable[[Sequence[Path], Path, Link, int], float]
"""(files, folder, link, port at its far end) -> seconds."""


def _over_link(size: Size, send: Sending) -> Callable[[Path], Sample]:
    def run(folder: Path) -> Sample:
        files = pictures("ct", size.counts["ct"])
        received, port = folder / "pacs" / "received", free_port()
        received.mkdir(parents=True)
        command = _storescp(*TAKES_JPEG_LS, "-od", str(received), port=port)
        with link(WAN) as between, listening(between.far, command, port=port, folder=folder / "pacs"):
            seconds = send(files, folder, between, port)
        held = [path.stat().st_size for path in received.iterdir()]
        if len(held) != len(files):
            raise CellFailed(f"{len(held)} of {len(files)} objects are there")
        return {"seconds": seconds, "mb": sum(held) / 1e6}

    return run


def _lossless(files: Sequence[Path], folder: Path, between: Link, port: int) -> float:
    copy_spool(filled_spool(files, "ct, link", destinations=()), folder / "state")
    config = _config(folder, {"pacs": (FAR, port)}, compression="lossless")
    os.sync()
    began = time.monotonic()
    with _forwarding(between, folder, config), _books(folder / "state") as books:
        _until(lambda: _confirmed(books, PACS) == len(files), "the study")
        return time.monotonic() - began


def _plain(files: Sequence[Path], folder: Path, between: Link, port: int) -> float:
    began = time.monotonic()
    _dcmtk(between, "storescu", "-aec", "STORESCP", FAR, str(port), *map(str, files))
    return time.monotonic() - began


def _compressed_before(files: Sequence[Path], folder: Path, between: Link, port: int) -> float:
    (folder / "compressed").mkdir()
    made = [folder / "compressed" / path.name for path in files]

    def compress(source: Path, target: Path) -> None:
        command = [str(servers.DCMTK / "dcmcjpls"), str(source), str(target)]
        subprocess.run(command, capture_output=True, timeout=LONGEST, check=True)

    began = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as cores:
        list(cores.map(compress, files, made))
    _dcmtk(between, "dcmsend", "-aec", "STORESCP", FAR, str(port), *map(str, made))
    return time.monotonic() - began


# -- STAT behind a backlog --

EDGE_AND_FORWARD: Final = "gateway, edge and forward"


def stat(size: Size) -> Table:
    backlog = size.counts["ct, backlog"] * 512 * 512 * 2 / 1e9
    cases = {f"behind {backlog:.1f} GB, loopback": None, f"behind {backlog:.1f} GB, 20 Mbit/s": WAN}
    return Table(
        name="stat",
        environment="tuned",
        title="A STAT study behind a routine backlog",
        note=(
            f"{size.counts['ct, backlog']:,} CT objects wait for one destination and are being sent when a scanner "
            f"whose priority is STAT sends a study of {_study(size)}. Seconds from the start of that scanner's "
            "dcmsend: to the first claim of the study, and to the destination's answer to the last of it. What is left "
            "is the routine objects that the destination had not answered by then."
        ),
        columns=(
            Column(metric="started_s", title="started s", digits=2),
            Column(metric="there_s", title="there s", digits=2),
            Column(metric="left", title="backlog left"),
            Column(metric="meanwhile", title="routine meanwhile"),
        ),
        cells=[
            Cell(case=case, variant=EDGE_AND_FORWARD, run=_stat(size, megabits)) for case, megabits in cases.items()
        ],
        targets=[
            target
            for case in cases
            for target in (
                Target(
                    clause="STAT", case=case, metric="started_s", ours=EDGE_AND_FORWARD, at_most=2.0, unit="seconds"
                ),
                Target(clause="STAT", case=case, metric="left", ours=EDGE_AND_FORWARD, at_least=1, unit="objects"),
            )
        ],
        lower_is_better=True,
        ours=EDGE_AND_FORWARD,
        compared=False,
    )


def _study(size: Size) -> int:
    return max(4, size.pictures // 5)


def _stat(size: Size, megabits: float | None) -> Callable[[Path], Sample]:
    def run(folder: Path) -> Sample:
        backlog, study = size.files("ct, backlog"), pictures("ct", _study(size))
        copy_spool(filled_spool(backlog, "ct, backlog"), folder / "state")
        port = free_port()
        with link(megabits) as between, _sink(between.far, folder / "pacs") as sink:
            config = _config(folder, {"pacs": (FAR, sink)}, listen=port)
            with config.open("a", encoding="utf-8") as more:
                more.write(f'[[scanner]]\nae = "{EMERGENCY}"\npriority = "stat"\n')
            edge = python("gateway", "serve", "worklist", "storage", "--config", config)
            os.sync()
            with (
                listening(between.near, edge, port=port, folder=folder / "edge"),
                _forwarding(between, folder, config),
                _books(folder / "state") as books,
            ):
                _until(lambda: _confirmed(books, PACS) > 0, "the beginning of the backlog")
                before, began = _confirmed(books, PACS), datetime.now(UTC)
                to = ("-aet", EMERGENCY, "-aec", "GATEWAY", HOST, str(port))
                _dcmtk(between, "dcmsend", *to, *map(str, study))
                _until(lambda: _confirmed(books, PACS, lane=Lane.STAT) == len(study), "the STAT study")
                there = _last(books, PACS, lane=Lane.STAT)
                meanwhile = _confirmed(books, PACS, lane=Lane.ROUTINE, by=there)
                return {
                    "started_s": (_first(books, PACS, lane=Lane.STAT) - began).total_seconds(),
                    "there_s": (there - began).total_seconds(),
                    "left": len(backlog) - meanwhile,
                    "meanwhile": meanwhile - before,
                }

    return run


# -- programs and books --


def _config(
    folder: Path, places: dict[str, tuple[str, int]], *, compression: str = "none", listen: int | None = None
) -> Path:
    path = servers.write_config(folder, port=listen or free_port())
    with path.open("a", encoding="utf-8") as more:
        for name, (host, port) in places.items():
            more.write(servers.destination_section(port, name=name, host=host, compression=compression))
        more.write(f'[routing]\ndefault = ["{min(places)}"]\nunverified = "{min(places)}"\n')
    return path


@contextmanager
def _sink(namespace: str, folder: Path) -> Iterator[int]:
    """The port of a receiver that throws everything away."""
    port = free_port()
    with listening(namespace, _storescp(*SINK, port=port), port=port, folder=folder):
        yield port


def _storescp(*options: str, port: int) -> list[str]:
    return [str(servers.DCMTK / "storescp"), *options, "-aet", "STORESCP", str(port)]


@contextmanager
def _forwarding(between: Link, folder: Path, config: Path) -> Iterator[None]:
    """`gateway serve forward` at the near end; a failure shows the end of what it said."""
    command = at(between.near, python("gateway", "serve", "forward", "--config", config))
    try:
        with servers.background(command, folder, tuned=True):
            yield
    except CellFailed as failed:
        failed.add_note((folder / "output.log").read_text("utf-8", "replace")[-2000:])
        raise


def _dcmtk(between: Link, name: str, *arguments: str) -> None:
    ended = subprocess.run(
        at(between.near, [str(servers.DCMTK / name), *arguments]),
        env={**os.environ, **environment(tuned=True)},
        capture_output=True,
        timeout=LONGEST,
        check=False,
    )
    if ended.returncode:
        raise CellFailed(f"{name} ended with {ended.returncode}: {ended.stderr[-500:]!r}")


@contextmanager
def _books(state: Path) -> Iterator[Connection]:
    with closing(open_reader(state / "gateway.db")) as books:
        yield books


_ANY: Final = "destination = :destination AND (:lane = '' OR lane = :lane)"


def _confirmed(books: Connection, destination: str, *, lane: str = "", by: datetime | None = None) -> int:
    """Deliveries confirmed, by a moment."""
    asked = f"SELECT count(*) FROM delivery WHERE {_ANY} AND state = 'confirmed' AND (:by = '' OR confirmed_at <= :by)"
    values = {"destination": destination, "lane": lane, "by": "" if by is None else to_text(by)}
    return int(books.execute(asked, values).fetchone()[0])


def _first(books: Connection, destination: str, *, lane: str = "") -> datetime:
    """The first claim."""
    asked = (
        "SELECT min(at) FROM journal JOIN delivery ON delivery.id = CAST(subject AS INTEGER) "
        f"WHERE kind = 'delivery' AND to_state = 'sending' AND {_ANY}"
    )
    return _moment(books, asked, destination, lane)


def _last(books: Connection, destination: str, *, lane: str = "") -> datetime:
    """The last confirmation."""
    return _moment(books, f"SELECT max(confirmed_at) FROM delivery WHERE {_ANY}", destination, lane)


def _moment(books: Connection, asked: str, destination: str, lane: str) -> datetime:
    found = books.execute(asked, {"destination": destination, "lane": lane}).fetchone()[0]
    if found is None:
        raise CellFailed(f"nothing was sent to {destination}")
    return from_text(str(found))


def _until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LONGEST
    while not done():
        if time.monotonic() > end:
            raise CellFailed(f"{what} did not get there")
        time.sleep(LOOK_SECONDS)
