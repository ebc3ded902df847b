"""`gateway simulate ris|pacs|scanner|fleet|trip`: the peers of a gateway as small honest programs, to try it out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.failures import DOES_NOT_HOLD, HOLDS, CommandFailed
from gateway.cli.options import AsJson

if TYPE_CHECKING:
    from gateway.simulate.fleet_twin import Temper
    from gateway.simulate.pacs import ReportTo

# The words of the simulators' own enumerations, whose modules take a second to import
RisMood = Literal[
    "answer", "hang", "refuse", "empty", "abort_midway", "cut_midway", "slow", "garbled", "garbage", "fail"
]
PacsMood = Literal["up", "down", "refuse", "fail", "warn", "abort_midway", "drop_response", "abort", "hang", "flap"]
ScannerKind = Literal["CT", "MR", "US", "DX", "SR"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Play a RIS, a PACS or a scanner, or show one whole trip. Nothing here is of a real patient.",
)
Tempers = Annotated[
    list[str] | None,
    typer.Option("--temper", metavar="NUMBER=WORD", help="A box that rejects, falls-back, vanishes or reddens."),
]
Host = Annotated[str, typer.Option("--host", help="The address to listen at.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="The TCP port.")]
Ae = Annotated[str, typer.Option("--ae", metavar="AE", help="Its AE title.")]


@app.command()
def trip(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End after the trip, with status 0 if all was confirmed.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Keep configuration, state, log and images here; else they go at the end.")
    ] = None,
    instances: Annotated[int, typer.Option(min=1, max=5000, help="How many images the study has.")] = 20,
    deadline: Annotated[float, typer.Option(min=1, help="Seconds the trip may take.")] = 60.0,
) -> None:
    """One study makes the whole trip: RIS, scanner and PACS are played around a real gateway."""
    from gateway.cli.showing import console
    from gateway.simulate.trip import trip as make_trip

    made = make_trip(once=once, folder=folder, console=console(), instances=instances, deadline=deadline)
    raise typer.Exit(asyncio.run(made))


@app.command()
def ris(
    *,
    host: Host = "127.0.0.1",
    port: Port = 11113,
    ae: Ae = "RIS",
    rows: Annotated[int, typer.Option("--rows", min=0, max=10_000, help="Scheduled steps of each modality.")] = 3,
    station: Annotated[
        list[str] | None,
        typer.Option("--station", metavar="MODALITY=AE", help="A scanner with steps of today; may be repeated."),
    ] = None,
    behaviour: Annotated[RisMood, typer.Option(help="How it treats a query.")] = "answer",
) -> None:
    """Play a RIS with a worklist of today, until it is stopped."""
    from gateway.cli.showing import console
    from gateway.simulate.programs import run_ris
    from gateway.simulate.ris import STATIONS, RisBehaviour

    stations = dict(map(_station, station)) if station else STATIONS
    status = run_ris(
        console=console(),
        host=host,
        port=port,
        ae=ae,
        per_modality=rows,
        stations=stations,
        behaviour=RisBehaviour(behaviour),
    )
    raise typer.Exit(status)


@app.command()
def pacs(
    *,
    host: Host = "127.0.0.1",
    port: Port = 11114,
    ae: Ae = "PACS",
    folder: Annotated[Path | None, typer.Option(help="Keep the images here; else only what they are.")] = None,
    transfer_syntax: Annotated[
        list[str] | None,
        typer.Option("--transfer-syntax", metavar="UID", help="Take only this one; may be repeated."),
    ] = None,
    behaviour: Annotated[PacsMood, typer.Option(help="How it treats images.")] = "up",
    seed: Annotated[int, typer.Option(help="Of the chances that it takes when it flaps.")] = 0,
    report_to: Annotated[
        str, typer.Option("--report-to", metavar="AE@HOST:PORT", help="Where commitment results go; else back.")
    ] = "",
) -> None:
    """Play a PACS that keeps what it is sent and answers for it, until it is stopped."""
    from gateway.cli.showing import console
    from gateway.simulate.pacs import PacsBehaviour
    from gateway.simulate.programs import run_pacs

    status = run_pacs(
        console=console(),
        host=host,
        port=port,
        ae=ae,
        folder=folder,
        transfer_syntaxes=transfer_syntax,
        behaviour=PacsBehaviour(behaviour),
        seed=seed,
        report_to=_report_to(report_to) if report_to else None,
    )
    raise typer.Exit(status)


@app.command()
def scanner(
    *,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port of the gateway.")] = 11112,
    host: Annotated[str, typer.Option("--host", help="The address of the gateway.")] = "127.0.0.1",
    called_ae: Annotated[str, typer.Option("--called-ae", help="The AE title it sends to.")] = "GATEWAY",
    worklist_ae: Annotated[
        str, typer.Option("--worklist-ae", help="The AE title it asks for the worklist, if that is another.")
    ] = "",
    calling_ae: Annotated[str, typer.Option("--calling-ae", help="Its own AE title.")] = "CT1",
    modality: Annotated[ScannerKind, typer.Option(help="What it makes; SR: a report.")] = "CT",
    instances: Annotated[int, typer.Option(min=1, max=5000, help="How many images the study has.")] = 20,
    give_up_after: Annotated[float, typer.Option(min=1, help="Seconds until it stops sending again.")] = 60.0,
    commitment: Annotated[bool, typer.Option(help="Ask for storage commitment afterwards.")] = True,
    commitment_wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its result.")] = 10.0,
) -> None:
    """Play a scanner: take the first worklist entry, make its study, send it, ask for its commitment."""
    from gateway.cli.showing import console
    from gateway.simulate.programs import run_scanner
    from gateway.simulate.study import Modality

    status = run_scanner(
        console=console(),
        port=port,
        host=host,
        called_ae=called_ae,
        worklist_ae=worklist_ae,
        calling_ae=calling_ae,
        modality=Modality(modality),
        instances=instances,
        give_up_after=give_up_after,
        commitment_wait=commitment_wait if commitment else None,
    )
    raise typer.Exit(status)


@app.command()
def fleet(
    *,
    boxes: Annotated[int, typer.Option(min=1, max=100_000, help="How many; each has a connection of its own.")] = 100,
    broker: Annotated[
        list[str] | None, typer.Option("--broker", metavar="HOST:PORT", help="A broker; may be repeated.")
    ] = None,
    protocol: Annotated[Literal["5", "3.1.1"], typer.Option(help="The version of MQTT.")] = "5",
    seconds: Annotated[float, typer.Option(min=1, help="How long they play.")] = 60.0,
    health: Annotated[float, typer.Option(min=0.1, help="Seconds between two health messages of a box.")] = 30.0,
    events: Annotated[float, typer.Option(min=0, help="Seconds between two events of a box; 0: none.")] = 300.0,
    within: Annotated[float, typer.Option(min=0, help="Connect, and connect again, within so many seconds.")] = 60.0,
    storm: Annotated[float, typer.Option(min=0, help="Cut all connections after so many seconds; 0: never.")] = 0.0,
    outage: Annotated[int, typer.Option(min=0, help="So many boxes lose their PACS for a third of the time.")] = 0,
    first: Annotated[int, typer.Option(min=1, help="The number of the first box.")] = 1,
    sites: Annotated[int, typer.Option(min=1, max=99, help="Over how many sites they are spread.")] = 10,
    ca: Annotated[Path | None, typer.Option(help="Encrypt; who signed the broker's certificate.")] = None,
    certificates: Annotated[
        Path | None, typer.Option(help="BOX.pem of each box in this folder, or one file for all: certificate and key.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="In how many processes.")] = 1,
    seed: Annotated[int, typer.Option(help="Of all that is left to chance; 0: any.")] = 0,
    keys: Annotated[
        Path | None, typer.Option(help="The folder of the public keys of who may ask the boxes for something.")
    ] = None,
    temper: Tempers = None,
    as_json: AsJson = False,
) -> None:
    """Play many boxes at a broker, and tell what central acknowledged. Status 0 if it acknowledged every event."""
    from gateway.cli.showing import console, show_json, show_table
    from gateway.simulate.fleet import Plan, simulate
    from gateway.simulate.mqtt_wire import V5, V311

    plan = Plan(
        brokers=tuple(map(_host_and_port, broker or ["127.0.0.1:1883"])),
        boxes=boxes,
        first=first,
        sites=sites,
        version=V5 if protocol == "5" else V311,
        health_every=health,
        events_every=events,
        lasts=seconds,
        connect_within=within,
        reconnect_within=within,
        storm_after=storm,
        outage=outage,
        ca=ca,
        certificates=certificates,
        seed=seed,
        trusted=_trusted(keys),
        tempers=tuple(map(_temper, temper or [])),
    )
    outcome = simulate(plan, processes=processes)
    figures = outcome.figures()
    if as_json:
        show_json({**figures})
    else:
        show_table(console(), "Fleet", ("What", "How many, or seconds"), figures.items())
    raise typer.Exit(DOES_NOT_HOLD if outcome.owed else HOLDS)


def _host_and_port(word: str) -> tuple[str, int]:
    host, _, port = word.rpartition(":")
    if not host or not port.isdecimal():
        raise CommandFailed("--broker: host and port are needed; write it as broker.example:1883")
    return host, int(port)


def _station(word: str) -> tuple[str, str]:
    modality, _, ae = word.partition("=")
    if not modality or not ae:
        raise CommandFailed("--station: a modality and an AE title are needed; write it as CT=CT1")
    return modality, ae


def _report_to(word: str) -> ReportTo:
    from gateway.simulate.pacs import ReportTo

    ae, _, place = word.partition("@")
    host, _, port = place.rpartition(":")
    if not ae or not host or not port.isdecimal():
        raise CommandFailed("--report-to: AE title, host and port are needed; write it as GATEWAY@127.0.0.1:11112")
    return ReportTo(ae=ae, host=host, port=int(port))


def _trusted(folder: Path | None) -> tuple[bytes, ...]:
    from gateway.config.commands import read_keys

    if folder is None:
        return ()
    keys, problems = read_keys(folder)
    if problems or not keys:
        raise CommandFailed(f"--keys: {problems[0] if problems else 'there is no *.pem in that folder'}")
    return tuple(key.public_bytes_raw() for key in keys.values())


def _temper(word: str) -> tuple[int, Temper]:
    from gateway.simulate.fleet_twin import Temper

    number, _, how = word.partition("=")
    if not number.isdecimal() or how not in set(Temper):
        raise CommandFailed(f"--temper: write it as 7=rejects; there are: {', '.join(Temper)}")
    return int(number), Temper(how)
