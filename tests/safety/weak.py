"""The gateway without a part of its care, as the control that must lose: python -m tests.safety.weak HOW serve ...

HOW is "no-fsync" (no file, folder or transaction is made durable), "no-file-sync" (files are not) or
"no-full-commit" (no transaction is, as if its rows could be made again from the files).
Everything else is the gateway as it is.
"""

import os
import sys
from typing import Any

from gateway.cli import main
from gateway.spool import db

_execute = db.Connection.execute


def skip(fd: Any) -> None:
    """Say that it is durable."""


def commit_as(level: str) -> None:
    """Let every transaction of SQLite be `level`, whatever was asked for."""

    def execute(self: db.Connection, sql: str, parameters: Any = (), /) -> Any:
        asked = f"PRAGMA synchronous = {level}" if sql.startswith("PRAGMA synchronous") else sql
        return _execute(self, asked, parameters)

    db.Connection.execute = execute  # type: ignore[method-assign]


def weaken(how: str) -> None:
    match how:
        case "no-fsync":
            os.fsync = os.fdatasync = skip
            commit_as("OFF")
        case "no-file-sync":
            os.fdatasync = skip
        case "no-full-commit":
            commit_as("NORMAL")
        case _:
            sys.exit(f"unknown weakness {how}")


if __name__ == "__main__":
    weaken(sys.argv.pop(1))
    main()
