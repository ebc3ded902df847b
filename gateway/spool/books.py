"""The books as a whole, for whoever looks after the machine: what version they have, and how large each is."""

from __future__ import annotations

from gateway.spool.db import Connection
from gateway.spool.queries import sql


def migrations(c: Connection) -> dict[str, str]:
    """When each migration was applied."""
    return {row["name"]: row["applied_at"] for row in c.execute(sql("books_migrations"))}


def sizes(c: Connection) -> dict[str, int]:
    """Rows of each table."""
    names = [row["name"] for row in c.execute(sql("books_tables"))]
    # The names are those of our own schema: a statement can't take a table as a parameter
    return {name: c.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608
