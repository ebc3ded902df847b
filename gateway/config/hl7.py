"""HL7: the port, the systems that may send, and where orders are told of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.config.section import Section, ServerTls, Tls, spelled
from gateway.config.values import (
    Count,
    Duration,
    Flag,
    Host,
    Name,
    Network,
    OptionalHost,
    OptionalPort,
    Port,
    Size,
    SourceName,
    invalid,
    shape,
)
from gateway.domain.hl7_charset import codec_of


def _charset(value: str) -> str:
    if value and codec_of(value) is None:
        raise invalid(
            f"is {shape(value)}, not a character set we read",
            'write it as HL7 table 0211 does, "8859/1" or "UNICODE UTF-8", or "WINDOWS-1252"; empty for none',
        )
    return value


def _designator(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise invalid(f"is {shape(value)} that is not plain", "write it in ASCII, as the RIS knows it")
    return value


Designator = Annotated[str, Field(max_length=227), AfterValidator(_designator)]
"""MSH-3 to MSH-6, the first component."""
CharacterSet = Annotated[str, AfterValidator(_charset)]


class Mllp(ServerTls):
    address: Host = spelled("0.0.0.0")  # noqa: S104  as [[listen]]
    """The address to listen at for HL7 messages."""
    port: OptionalPort = spelled(2575)
    """The TCP port; 0: no HL7 messages are received."""
    connections: Count = spelled(64)
    """Connections at a time."""
    connections_per_address: Count = spelled(16)
    """Connections at a time from one address."""
    message_max: Annotated[Size, Field(ge=1024, le=64 * 2**20)] = spelled("8MiB")
    """The largest message that is read."""
    idle: Duration = spelled("24h")
    """How long a connection may stay silent between two messages."""
    stall: Duration = spelled("30s")
    """How long a message may stand still once it has begun, and an answer may wait to be read."""
    unknown_kept: Annotated[int, Field(ge=0, le=10_000)] = spelled(100)
    """How many messages of no known sender are kept until a person has seen them; 0: none. All are answered AR."""


class Sender(Section):
    name: SourceName
    """Write a short name of the system that sends, for logs and screens; no [[ris]] may have the same."""
    application: Annotated[str, Field(max_length=227)] = spelled("")
    """MSH-3 of its messages (the first component); empty: any."""
    facility: Annotated[str, Field(max_length=227)] = spelled("")
    """MSH-4 of its messages (the first component); empty: any."""
    address: tuple[Network, ...] = spelled([])
    """The addresses or networks it calls from; empty: any address."""
    charset: CharacterSet = spelled("")
    """The character set of its messages, whatever MSH-18 says; empty: what MSH-18 says."""
    fallback_charset: CharacterSet = spelled("WINDOWS-1252")
    """The character set of a message that declares none and is no UTF-8."""
    ack: Literal["auto", "original"] = spelled("auto")
    """"auto": enhanced mode where MSH-15 or MSH-16 ask for it; "original": always one AA, AE or AR."""
    processing: Annotated[tuple[Literal["P", "T", "D"], ...], Field(min_length=1)] = spelled(["P"])
    """The processing ids taken (MSH-11): production, training, debugging."""
    mapping: Name = spelled("generic")
    """The mapping from its messages to orders."""
    on_identity_conflict: Literal["accept", "refuse"] = spelled("accept")
    """An order for another patient than the one known: "accept" sets it aside with AA, "refuse" answers AE 205."""
    on_not_understood: Literal["accept", "refuse"] = spelled("accept")
    """A message that can't be used is kept and shown either way: "accept" answers AA, "refuse" AE or AR."""


class OrdersOut(Tls):
    host: OptionalHost = spelled("")
    """Where the RIS takes HL7 messages about its orders (MLLP); empty: it is told nothing."""
    port: Port = spelled(2576)
    """The MLLP port there."""
    format: Literal["orm", "omi", "off"] = spelled("orm")
    """"orm": ORM^O01 of HL7 2.3.1; "omi": OMI^O23 of 2.5.1; "off": it is told nothing."""
    report: Flag = spelled(False)
    """Tell it the study's UID as a result (ORU^R01), too; to many systems that is a report."""
    senders: tuple[Name, ...] = spelled([])
    """The [[sender]]s whose orders it is told of, "api" for those of programs; empty: all."""
    sending_application: Designator = spelled("")
    """MSH-3; empty: [box] ae."""
    sending_facility: Designator = spelled("")
    """MSH-4; empty: [site] name."""
    application: Designator = spelled("")
    """MSH-5: what the RIS calls itself."""
    facility: Designator = spelled("")
    """MSH-6: its place."""
    connect_timeout: Duration = spelled("10s")
    """How long the connection may take to begin."""
    timeout: Duration = spelled("30s")
    """How long an acknowledgement may take."""
