"""What the commands of the fleet share: their configuration, its database, and the extra that they need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.failures import CommandFailed

if TYPE_CHECKING:
    from gateway.fleet.database import Books

DEFAULT_CONFIG: Final = Path("/etc/gateway/fleet.toml")
FleetPath = Annotated[
    Path, typer.Option("--config", envvar="GATEWAY_FLEET_CONFIG", metavar="PATH", help="The file fleet.toml.")
]


def needs_extra() -> None:
    """Raises CommandFailed where the fleet's side is not installed."""
    try:
        import asyncpg  # noqa: F401
    except ImportError:
        raise CommandFailed("the fleet's side is not installed here; pip install 'modality-gateway[fleet]'") from None


@asynccontextmanager
async def opened_books(config: Path) -> AsyncIterator[Books]:
    """The fleet's database, while inside."""
    from gateway.app.fleet import open_books
    from gateway.config.fleet import load_fleet

    books = await open_books(load_fleet(config).database)
    try:
        yield books
    finally:
        await books.close()
