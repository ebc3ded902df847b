"""A NATS cluster of three nodes from Debian, or one alone, with JetStream and MQTT 3.1.1, each in its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.processes import HOST, Program, free_port, program

NATS = Path("/usr/sbin/nats-server")
NODES = 3
_CONFIGURATION = """\
server_name: {name}
listen: "{host}:{port}"
jetstream {{ store_dir: "{folder}", max_mem: 256M, max_file: 2G }}
mqtt {{ listen: "{host}:{mqtt}" }}
"""
_ROUTES = """\
cluster {{ name: fleet, listen: "{host}:{route}", routes: [{routes}] }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One of the three."""

    port: int
    mqtt: int
    configuration: Path

    @contextmanager
    def running(self) -> Iterator[Program]:
        """The node, while inside; killed when left."""
        with program([NATS, "-c", self.configuration], port=self.mqtt, folder=self.configuration.parent) as started:
            yield started


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Three nodes that run."""

    nodes: tuple[Node, ...]
    programs: tuple[Program, ...]

    @property
    def clients(self) -> tuple[str, ...]:
        """Where clients of NATS connect."""
        return tuple(f"{HOST}:{node.port}" for node in self.nodes)

    @property
    def mqtt(self) -> tuple[tuple[str, int], ...]:
        """Where boxes connect."""
        return tuple((HOST, node.mqtt) for node in self.nodes)


@contextmanager
def nats_cluster(folder: Path, *, size: int = NODES) -> Iterator[Cluster]:
    """Started, and killed when left."""
    routes = [free_port() for _ in range(size)]
    nodes = []
    for number, route in enumerate(routes):
        place = folder / f"node-{number}"
        place.mkdir(parents=True)
        node = Node(port=free_port(), mqtt=free_port(), configuration=place / "nats.conf")
        form = _CONFIGURATION + (_ROUTES if size > 1 else "")
        text = form.format(
            name=f"n{number}",
            host=HOST,
            port=node.port,
            mqtt=node.mqtt,
            route=route,
            folder=place / "store",
            routes=", ".join(f'"nats://{HOST}:{other}"' for other in routes),
        )
        node.configuration.write_text(text, "utf-8")
        nodes.append(node)
    with ExitStack() as stack:
        # Each starts without waiting for the others, who must be there for its port to answer
        programs = tuple(stack.enter_context(node.running()) for node in nodes)
        yield Cluster(nodes=tuple(nodes), programs=programs)
