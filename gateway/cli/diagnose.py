"""`gateway diagnose`: a bundle for support that holds nothing of a patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failures import CommandFailed
from gateway.cli.options import DEFAULT_CONFIG, ConfigPath


def diagnose(
    *,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where it is written.")] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="The log, where the system's journal has none.")
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Write a bundle for support: versions, counts, timings, the configuration and the log, all without patients.

    Names, addresses and secrets are not in it either; it says what was left out. It is sent nowhere.
    """
    from gateway.app.diagnosis import LEFT_OUT, bundle, journal
    from gateway.cli.opening import reading

    try:
        lines = journal() if log is None else log.read_text("utf-8", "replace").splitlines()
        with reading(config) as books:
            made = bundle(books.config, books.c, lines=lines, now=books.now)
            path = to or Path(f"gateway-diagnosis-{books.config.box.id}-{books.now:%Y%m%dT%H%M%SZ}.tar.gz")
        path.write_bytes(made)
    except OSError as error:
        raise CommandFailed(f"diagnose: {error.filename} can't be used ({error.strerror}); name another") from None
    typer.echo(f"{path}: {len(made):,} bytes. Left out:")
    for words in LEFT_OUT.values():
        typer.echo(f"  {words}")
