"""`fleet.toml`: what the fleet's side runs with, apart from any box. Read as `gateway.toml` is: all faults at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from gateway.config.loading import tables_of, text_of
from gateway.config.problems import ConfigError, problem_of
from gateway.config.section import Section, Tls, spelled
from gateway.config.values import (
    Count,
    Duration,
    Flag,
    Host,
    Name,
    OptionalPort,
    Port,
    SecretPath,
    invalid,
    names_a_host,
    shape,
)

_ADDRESS: Final = re.compile(
    r"https?://([^\s/@]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][^\s]*)?"  # RFC 3986 3.2
)
_SHARE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{0,32}", re.ASCII)
_ADDRESS_MAX: Final = 500


def parse_store(value: object) -> str:
    """The address of a store of metrics; empty for none."""
    if value == "" or (
        isinstance(value, str)
        and len(value) <= _ADDRESS_MAX
        and _ADDRESS.fullmatch(value) is not None
        and names_a_host(value)
    ):
        return str(value)
    raise invalid(
        f"is {shape(value)}, not the address of a store", 'write it as "http://store.example:8428/api/v1/write"'
    )


def parse_share_name(value: object) -> str:
    """The name of collectors that share the work; empty for one alone."""
    if isinstance(value, str) and _SHARE_NAME.fullmatch(value):
        return value
    raise invalid(f"is {shape(value)}, not a name", "use letters, digits, dash and underscore, at most 32")


class FleetBroker(Tls):
    kind: Literal["mqtt", "nats"] = spelled("mqtt")
    """"mqtt": MQTT 5 with shared subscriptions. "nats": JetStream, for brokers whose MQTT is 3.1.1."""
    host: Annotated[tuple[Host, ...], Field(min_length=1, max_length=16)]
    """Write the broker, or with kind = "nats" every node of the cluster: ["nats1.example", "nats2.example"]."""
    port: Port = spelled(8883)
    """Its port: 8883 for MQTT over TLS, 4222 for NATS."""
    tls: Flag = spelled(True)
    """Encrypt the connection; the broker's certificate is always checked."""
    client: Name = spelled("collector")
    """The client identifier, another one for each collector."""
    username: Annotated[str, Field(max_length=128)] = spelled("")
    """Who we are, where no certificate tells."""
    password: SecretPath = spelled("")
    """A file with the password."""
    share: Annotated[str, BeforeValidator(parse_share_name)] = spelled("fleet")
    """Collectors of one name share the work; empty, for a broker without shared subscriptions: one collector alone."""
    replicas: Annotated[Count, Field(le=5)] = spelled(3)
    """With kind = "nats": on how many nodes what boxes say is kept; 1, 3 or 5."""

    @model_validator(mode="after")
    def _one_host(self) -> FleetBroker:
        if self.kind == "mqtt" and len(self.host) > 1:
            raise invalid("names several hosts", "write the one name behind which an MQTT cluster stands")
        return self


class FleetDatabase(Section):
    host: Host = spelled("localhost")
    """PostgreSQL."""
    port: Port = spelled(5432)
    name: Annotated[str, Field(min_length=1, max_length=63)] = spelled("fleet")
    """The database; its schema `fleet` is made by us."""
    user: Annotated[str, Field(min_length=1, max_length=63)] = spelled("fleet")
    password: SecretPath = spelled("")
    """A file with the password."""
    tls: Flag = spelled(True)
    """Encrypt; the certificate must be signed by one of the system's authorities."""
    kept: Duration = spelled("400d")
    """How long events are kept; what no box was told to forget yet is kept longer."""


class FleetMetrics(Section):
    remote_write: Annotated[str, BeforeValidator(parse_store)] = spelled("")
    """Where VictoriaMetrics or Prometheus takes remote write; empty: no history, only the last numbers of each box."""
    kept: Count = spelled(500_000)
    """Samples that wait for a store that is away; more, and the oldest go."""


class FleetCollector(Section):
    batch: Annotated[Count, Field(le=10_000)] = spelled(500)
    """Messages that are committed together at most."""
    address: Host = spelled("127.0.0.1")
    """Where its own /metrics is."""
    port: OptionalPort = spelled(9464)
    """0: nowhere."""


class FleetConfig(Section):
    """The whole file."""

    broker: FleetBroker
    """Write a [broker] section with host."""
    database: FleetDatabase = spelled({})
    metrics: FleetMetrics = spelled({})
    collector: FleetCollector = spelled({})


def load_fleet(path: Path) -> FleetConfig:
    """Read `fleet.toml`. Paths in it are relative to its folder. Raises ConfigError with every fault."""
    text = text_of(path, remedy="copy fleet/fleet.sample.toml there, or name the file with --config")
    return parse_fleet(text, base=path.absolute().parent, origin=path.name)


def parse_fleet(text: str, *, base: Path, origin: str = "fleet.toml") -> FleetConfig:
    """Parse the text of such a file. Raises ConfigError with every fault."""
    raw = tables_of(text, origin=origin)
    try:
        return FleetConfig.model_validate(raw, context={"base": base})
    except ValidationError as error:
        problems = [problem_of(dict(detail), raw, root=FleetConfig) for detail in error.errors(include_url=False)]
        raise ConfigError(problems) from None
