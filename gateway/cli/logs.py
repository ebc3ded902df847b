"""The log of a running gateway: one line per event on stderr, key=value, UTC.

What is promised (invariant 9): an error is logged by its type and the place it was raised at, never by its
message, and what other libraries log or warn of is reduced to who says it and where, since either may quote
a value of a data set. Colours only on a terminal, and not where NO_COLOR is set. A line that can't be written (a full
disk, a reader that has gone) is lost, and who logs goes on: threads log between what they must not leave undone.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog

OURS_TO_QUOTE: Final = frozenset({"uvicorn.error"})
"""Loggers of libraries whose texts are about the process alone."""


def log_to_stderr(level: str, *, also: Callable[[Mapping[str, Any]], None] | None = None) -> None:
    """Send everything that is logged in this process to stderr, from `level` ("info") on, and hand it to `also`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_messages_of_errors,
            *([] if also is None else [_handed_to(also)]),
            _renderer(colours=sys.stderr.isatty() and not os.environ.get("NO_COLOR")),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, Lossy(sys.stderr))),
    )
    logging.captureWarnings(True)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[FromLibraries()], force=True)


class Lossy:
    """A stream of which what can't be written is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class FromLibraries(logging.Handler):
    """Says in our log that a library said something, and where."""

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage() if record.name in OURS_TO_QUOTE else "a library reports"
        structlog.get_logger().log(
            record.levelno,
            words,
            logger=record.name,
            place=f"{record.module}:{record.lineno}",
            exc_info=record.exc_info,
        )


def without_messages_of_errors(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type and the place it was raised at."""
    told = event.pop("exc_info", None)
    if not told:
        return event
    error = told if isinstance(told, BaseException) else (told if isinstance(told, tuple) else sys.exc_info())[1]
    if error is not None:
        event["error"] = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        if frames:
            event["raised_at"] = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"
    return event


def _handed_to(also: Callable[[Mapping[str, Any]], None]) -> structlog.typing.Processor:
    def hand(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        also(event)
        return event

    return hand


def _renderer(*, colours: bool) -> structlog.typing.Processor:
    if colours:
        return structlog.dev.ConsoleRenderer(colors=True)
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
