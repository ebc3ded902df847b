"""mosquitto from Debian, with the limits that a fleet needs; `stop` and `start` keep its port and its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.processes import HOST, Program, free_port, program

MOSQUITTO = Path("/usr/sbin/mosquitto")
LIMITS = (
    "allow_anonymous true",
    "max_queued_messages 100000",
    "max_inflight_messages 2000",
    "max_packet_size 262144",
    "persistence false",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosquitto:
    """A broker that may be ended and started again."""

    port: int
    configuration: Path

    @contextmanager
    def running(self) -> Iterator[Program]:
        """The broker, while inside; killed when left."""
        command = [MOSQUITTO, "-c", self.configuration]
        with program(command, port=self.port, folder=self.configuration.parent) as started:
            yield started


def mosquitto(folder: Path, *, lines: Sequence[str] = ()) -> Mosquitto:
    """A broker of its own; `lines` belong to its listener."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "mosquitto.conf"
    user = ["user root"] if not lines else []
    whole = [*user, f"listener {port} {HOST}", *lines, *(LIMITS if not lines else LIMITS[1:])]
    configuration.write_text("\n".join(whole) + "\n", "utf-8")
    return Mosquitto(port=port, configuration=configuration)
