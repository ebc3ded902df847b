"""Durable state: the files that are the promise, and the SQLite index of them. See spool.py."""

from gateway.spool.commit import Committed, GroupCommitter, Received
from gateway.spool.db import Connection, Database
from gateway.spool.files import Incoming, SpoolFiles
from gateway.spool.recovery import Swept
from gateway.spool.spool import Spool

__all__ = [
    "Spool",
    "Database",
    "Connection",
    "SpoolFiles",
    "Incoming",
    "GroupCommitter",
    "Received",
    "Committed",
    "Swept",
]
