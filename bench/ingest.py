"""The tables of accepting: the limit, one association, four, one for each object, TLS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench import senders, servers
from bench.limit import bare_loop
from bench.measure import Cell, CellFailed, Column, Sample, Table, Target
from bench.senders import Send, Sent
from bench.servers import Start
from bench.sizes import Size

GROUP: Final = 16
COLUMNS: Final = (
    Column(metric="per_s", title="objects/s"),
    Column(metric="mb_s", title="MB/s"),
    Column(metric="objects", title="objects"),
    Column(metric="cpu", title="server CPU s/GB", digits=1),
)
DURABLE: Final = "each file and its name synced before success"
_SERVERS: Final[dict[str, tuple[Start, str]]] = {
    "gateway": (servers.gateway, DURABLE),
    "storescp": (servers.storescp, "none: 0 fsync"),
    "Orthanc": (servers.orthanc, "each file synced, its name not"),
    "pynetdicom": (servers.pynetdicom, "none: 0 fsync"),
}


def figures(files: Sequence[Path], *, seconds: float, cpu: float) -> Sample:
    """The metrics of moving these files."""
    size = sum(path.stat().st_size for path in files)
    return {
        "objects": len(files),
        "per_s": len(files) / seconds,
        "mb_s": size / 1e6 / seconds,
        "cpu": cpu / (size / 1e9),
    }


def _cell(size: Size, case: str, variant: str, send: Send, *, tuned: bool, start: Start | None = None) -> Cell:
    usual, durability = _SERVERS[variant]
    open_server = start or usual

    def run(folder: Path) -> Sample:
        files = size.files(case)
        with open_server(folder, tuned) as server:
            before = server.cpu()
            sent = send(server, files, tuned)
            cpu = server.cpu() - before
            stored = server.stored()
        if stored != len(files):
            raise CellFailed(f"{variant} holds {stored} of {len(files)} objects")
        return figures(files, seconds=sent.seconds, cpu=cpu)

    return Cell(case=case, variant=variant, durability=durability, run=run)


def _cells(size: Size, cases: Iterable[str], variants: Iterable[str], send: Send, *, tuned: bool) -> list[Cell]:
    return [_cell(size, case, variant, send, tuned=tuned) for case in cases for variant in variants]


def limit(size: Size) -> Table:
    """Ours beside the bare loop."""

    def bare(case: str, group: int) -> Cell:
        def run(folder: Path) -> Sample:
            files = size.files(case)
            taken: Sent = bare_loop(files, folder, group=group)
            return figures(files, seconds=taken.seconds, cpu=taken.cpu)

        name = "bare loop" if group == 1 else f"bare loop, names in groups of {group}"
        return Cell(case=case, variant=name, durability=DURABLE if group == 1 else "the same, but later", run=run)

    cases = ("ct", "mr", "dx", "multiframe")
    cells = [bare(case, group) for case in cases for group in (1, GROUP)]
    return Table(
        name="limit",
        environment="tuned",
        title="The limit: a bare loop with the same durability, without a network",
        note="The loop is one thread: write, fdatasync, rename, fsync of the folder. Ours is fed by dcmsend.",
        columns=COLUMNS,
        cells=[*cells, *_cells(size, cases, ["gateway"], senders.dcmsend, tuned=True)],
        targets=[
            Target(clause="(a)", case=case, metric="per_s", beside="bare loop", at_least=0.6) for case in ("ct", "mr")
        ],
    )


def one_association(size: Size) -> Table:
    cases = ("ct", "mr", "dx", "multiframe")
    orthanc = {"ct": 2.0, "mr": 2.0, "dx": 4.0, "multiframe": 4.0}
    storescp = {"ct": 1.0, "mr": 0.7, "dx": 2.0, "multiframe": 2.0}
    return Table(
        name="ingest",
        environment="tuned",
        title="Accepting over one association, sender dcmsend",
        note="Every DCMTK and Orthanc process has TCP_NODELAY=1 TCP_BUFFER_LENGTH=1048576.",
        columns=COLUMNS,
        cells=_cells(size, cases, _SERVERS, senders.dcmsend, tuned=True),
        targets=[
            *_beside("(b)", "Orthanc", orthanc),
            *_beside("(c)", "storescp", storescp),
        ],
    )


def one_association_default(size: Size) -> Table:
    cases = ("ct, default", "mr, default")
    return Table(
        name="ingest",
        environment="default",
        title="Accepting over one association, sender dcmsend, nothing tuned",
        note=(
            "Short rows: DCMTK's sender stalls about 50 ms for each object at a receiver that delays its "
            "acknowledgements, and TCP_NODELAY=1 removes that: read this table together with the tuned one."
        ),
        columns=COLUMNS,
        cells=_cells(size, cases, _SERVERS, senders.dcmsend, tuned=False),
        targets=[
            *_beside("default", "storescp", {"ct, default": 10.0, "mr, default": 10.0}),
            *_beside("default", "Orthanc", {"ct, default": 10.0, "mr, default": 10.0}),
        ],
    )


def four_associations(size: Size) -> Table:
    return Table(
        name="four",
        environment="tuned",
        title="Accepting over four associations at once, four dcmsend",
        note="The senders use the same cores.",
        columns=COLUMNS,
        cells=_cells(size, ("ct", "mr"), _SERVERS, senders.four_dcmsend, tuned=True),
        targets=_beside("(b)", "Orthanc", {"ct": 2.0, "mr": 2.0}),
    )


def association_each(size: Size) -> Table:
    cases = ("ct, single", "mr, single")
    return Table(
        name="single",
        environment="tuned",
        title="One association for each object, one after the other",
        note="Our own sender, the same for every server.",
        columns=COLUMNS,
        cells=_cells(size, cases, _SERVERS, senders.one_each, tuned=True),
        targets=_beside("one each", "Orthanc", dict.fromkeys(cases, 1.5)),
    )


def tls(size: Size) -> Table:
    start: dict[str, Start] = {"gateway": servers.gateway_tls, "storescp": servers.storescp_tls}
    return Table(
        name="tls",
        environment="tuned",
        title="Accepting over TLS, one association, sender storescu +tls",
        note="The sender shows no certificate; dcmsend of DCMTK 3.6.7 has no TLS.",
        columns=COLUMNS,
        cells=[
            _cell(size, case, variant, senders.storescu_tls, tuned=True, start=open_server)
            for case in ("ct", "mr")
            for variant, open_server in start.items()
        ],
    )


def _beside(clause: str, variant: str, least: dict[str, float]) -> list[Target]:
    return [
        Target(clause=clause, case=case, metric="per_s", beside=variant, at_least=ratio)
        for case, ratio in least.items()
    ]
