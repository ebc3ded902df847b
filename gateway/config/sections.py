"""The sections of `gateway.toml` as frozen values: one class per section, its default beside each key.

A default is spelled as an operator would write it and goes through the same parser as the file. The text
under a key is its documentation, and the remedy that an error prints when the key is missing. A key
without a default must be written. DESIGN 9 fixes the names: keys are added, never renamed.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gateway.config.check import Check
from gateway.config.commands import CommandsSection
from gateway.config.desk import Desk
from gateway.config.destinations import AnyDestination, CallingAE, Destination, DicomDestination, Group
from gateway.config.disk import DiskSection
from gateway.config.health import HealthSection, Metrics
from gateway.config.hl7 import Mllp, OrdersOut, Sender
from gateway.config.mqtt import Mqtt
from gateway.config.section import Section, ServerTls, Tls, spelled
from gateway.config.syslog import SyslogSection
from gateway.config.update import UpdateSection
from gateway.config.values import (
    AE,
    Count,
    Duration,
    Flag,
    Folder,
    FreeSpace,
    Host,
    Name,
    Network,
    OptionalHold,
    OptionalPath,
    OptionalPort,
    OptionalWait,
    Port,
    SecretPath,
    Size,
    SourceName,
    Timezone,
    invalid,
)
from gateway.domain.admission import same_ae
from gateway.domain.overview import Configured
from gateway.domain.parts import IMAGES, Part
from gateway.domain.synthetic import SCANNER as SYNTHETIC


class Service(StrEnum):
    """What one port may offer."""

    ECHO = "echo"
    WORKLIST = "worklist"
    MPPS = "mpps"
    STORAGE = "storage"
    COMMITMENT = "commitment"


class WorklistMode(StrEnum):
    """Where the answer to a scanner's worklist query comes from."""

    MERGE = "merge"
    """Ask the RISs until the deadline and merge with the copy."""
    LIVE = "live"
    """Answer what the RISs answer to this very question, never from the copy."""
    COPY = "copy"
    """Answer from the copy alone."""


class Site(Section):
    name: Name
    """Write a short name of the place: letters, digits, dot, dash; it is part of MQTT topics."""
    timezone: Timezone
    """Write the time zone of the scanners' clocks, such as "Europe/Berlin"."""


class Box(Section):
    id: Name
    """Write an opaque name of this box, unique at the site; no patient or person."""
    state: Folder = spelled("/var/lib/gateway")
    """The folder of the spool and the database."""
    ae: AE = spelled("GATEWAY")
    """Our own AE title when we call a peer."""
    runtime: OptionalPath = spelled("")
    """The folder of the sockets that wake our processes; empty: `run` in the state folder."""
    key: SecretPath = spelled("")
    """The key with which the box signs reports (Ed25519, PEM); empty: `box.key` in the state folder, made when needed.
    """

    @property
    def runtime_folder(self) -> Path:
        """The folder of the wake sockets."""
        return self.runtime or self.state / "run"


class Limits(Section):
    disk_reserve: FreeSpace = spelled("5%")
    """Disk space kept free, a share or a size: below it, images are refused with A700 and not lost."""
    associations: Count = spelled(64)
    """DICOM associations at a time."""
    associations_per_peer: Count = spelled(16)
    """DICOM associations at a time from one address."""
    sockets: Count = spelled(256)
    """Connections at a time, those that have not said who they are included."""
    sockets_per_address: Count = spelled(32)
    """Connections at a time from one address."""
    object_max: Annotated[Size, Field(ge=1)] = spelled("8GiB")
    """The largest object that is received."""
    pdu_max: Annotated[Size, Field(ge=4096, le=4 * 2**20)] = spelled("128KiB")
    """The largest PDU that we announce and read (PS3.8 D.1)."""
    artim: Duration = spelled("10s")
    """How long a connection may stay silent before it asks for an association (PS3.8 9.1.4)."""
    idle: Duration = spelled("15m")
    """How long an association may stay silent between two messages."""
    dimse: Duration = spelled("60s")
    """How long a message may stand still once it has begun."""
    sop_classes: Literal["any", "standard"] = spelled("any")
    """Which SOP classes are stored: "any" takes private and unknown ones too."""


class Listen(ServerTls):
    address: Host = spelled("0.0.0.0")  # noqa: S104  a scanner's network is the site's to choose
    """The address to listen at."""
    port: Port = spelled(11112)
    """The TCP port."""
    ae: Annotated[tuple[AE, ...], Field(min_length=1)] = spelled(["GATEWAY", "GATEWAY_MWL"])
    """The AE titles we answer to on this port."""
    services: Annotated[tuple[Service, ...], Field(min_length=1)] = spelled([service.value for service in Service])
    """What this port offers: any of "echo", "worklist", "mpps", "storage", "commitment"."""


class Worklist(Section):
    profiles: Folder = spelled("profiles/")
    """The folder of the site's own scanner profiles, beside the shipped ones; it need not exist."""


class WorklistPolicy(Section):
    mode: WorklistMode = spelled("merge")
    """"merge": answer from the copy while it is fresh, else ask the RISs and merge; "live": answer what the RISs
    answer, never from the copy; "copy": answer from the copy alone."""
    deadline: Duration = spelled("1.5s")
    """How long the scanner waits for the RISs before it is answered from the copy."""
    fresh_for: Duration = spelled("20s")
    """A copy no older than this is answered without asking."""
    max_stale: Annotated[Duration, Field(le=timedelta(hours=72))] = spelled("24h")
    """A row that its RIS has not confirmed for longer is not served; at most 72h."""
    hide_performed: Duration = spelled("12h")
    """A step that a scanner said is completed (MPPS) is still shown for so long; its RIS may remove it sooner."""
    mark: Flag = spelled(False)
    """Begin the step's comment (0040,0400) of rows older than fresh_for with "AS OF" and the time."""


Constant = Annotated[str, Field(max_length=64)]


class Constants(Section):
    Manufacturer: Constant = spelled("")
    """What the images of this scanner are to say of it (0008,0070); empty: anything."""
    StationName: Constant = spelled("")
    """The same of (0008,1010)."""
    InstitutionName: Constant = spelled("")
    """The same of (0008,0080)."""
    InstitutionalDepartmentName: Constant = spelled("")
    """The same of (0008,1040)."""

    @property
    def wanted(self) -> dict[str, str]:
        """Those that the site wrote down, by keyword."""
        return {keyword: value for keyword, value in self if value}


class Scanner(Section):
    ae: AE
    """Write the AE title with which the scanner calls."""
    address: tuple[Network, ...] = spelled([])
    """The addresses or networks it calls from; empty: any address."""
    called_ae: tuple[AE, ...] = spelled([])
    """Which of our AE titles it may call; empty: any."""
    port: OptionalPort = spelled(0)
    """Its port for storage commitment results, at its first address; 0: results on its own association only."""
    priority: Literal["", "stat", "routine", "bulk"] = spelled("")
    """How urgent its images are; empty: as it sent them. An order that is STAT goes before this."""
    hold: OptionalHold = spelled("")
    """How long its images wait for an order, instead of [check] hold default; "off": not at all; empty: as there."""
    emergency: Flag = spelled(False)
    """Its patients come before their orders: its images are held by no doubt, and looked at again when one comes."""
    constants: Constants = spelled({})
    """What its images are to say of it. What differs is a finding; a rule of [check] rules puts it right."""
    profile: Name = spelled("generic")
    """The profile of its make and model: a shipped one, or a file of [worklist] profiles."""
    worklist: WorklistPolicy = spelled({})
    """How its worklist queries are answered."""

    @field_validator("ae")
    @classmethod
    def _not_reserved(cls, ae: str) -> str:
        if same_ae(ae, SYNTHETIC):
            raise invalid("is reserved for the synthetic patient of `gateway selftest`", "write another AE title")
        return ae


class Window(Section):
    past: Duration = spelled("1d")
    """How far back from now the copy reaches."""
    ahead: Duration = spelled("7d")
    """How far ahead of now the copy reaches."""


class Ris(Tls):
    name: SourceName
    """Write a short name of this RIS for logs and screens."""
    host: Host
    """Write the host name or address of the RIS."""
    port: Port = spelled(104)
    """Its DICOM port."""
    ae: AE
    """Write the AE title of the RIS, as it knows itself."""
    calling_ae: CallingAE = spelled("own")
    """"own": we call as [box] ae; "scanner": as the scanner that asks."""
    timeout: Duration = spelled("10s")
    """How long a query may take."""
    refresh: Duration = spelled("30s")
    """How often the copy is refreshed."""
    probe: Annotated[OptionalWait, Field(le=timedelta(minutes=5))] = spelled("2s")
    """It is asked for one known patient when it has answered nothing for so long; "0s": never."""
    window: Window = spelled({})
    """Which scheduled days the copy holds."""
    rows_max: Count = spelled(20_000)
    """The most rows read of one answer. A longer one counts as a failure ("limit"): narrow the window."""
    mpps: Flag = spelled(True)
    """Pass performed procedure steps on to this RIS."""
    ian: Flag = spelled(False)
    """Tell it that a study can be had (Instance Availability Notification), where its archive does not."""
    orders_out: OrdersOut = spelled({})
    """Where it is told what became of its orders."""


class Routing(Section):
    default: tuple[Name, ...] = spelled(["pacs"])
    """The destinations of an image that no rule names; each the name of a [[destination]] or a [[group]]."""
    unverified: Name = spelled("pacs")
    """The destination of an image that could not be checked against an order."""
    rules: Folder = spelled("rules/")
    """The folder of the routing rules; it need not exist."""


class Orders(Section):
    mappings: Folder = spelled("mappings/")
    """The folder of the site's mappings from messages to orders; it need not exist."""
    mapping: Name = spelled("generic")
    """The mapping whose issuers, stations and tables hold for orders that programs enter (POST /api/v1/orders)."""
    quiet: Duration = spelled("10m")
    """How long nothing may have come of a study until it counts as complete, where its scanner told no counts."""
    abandoned: Duration = spelled("24h")
    """After how long without a word a step that was never ended, or never begun, holds its study open no more."""
    folder: OptionalPath = spelled("")
    """A folder of files with orders: HL7 messages (.hl7) and worklist files (.wl); empty: none."""
    poll: Annotated[Duration, Field(ge=timedelta(milliseconds=100), le=timedelta(minutes=5))] = spelled("2s")
    """How often it is looked at; a file is taken once it is the same at two looks."""


class Compression(Section):
    workers: Annotated[Count, Field(le=32)] = spelled(2)
    """Codec processes at a time."""
    memory: Annotated[Size, Field(ge=512 * 2**20)] = spelled("2GiB")
    """The most address space of one; an object that needs more goes out as it came."""
    timeout: Duration = spelled("10m")
    """How long one object may take; then it goes out as it came."""
    tasks: Count = spelled(10_000)
    """Objects until a codec process is replaced."""
    kept: Size = spelled("4GiB")
    """The most disk space for what was compressed and waits to be sent."""


class Retention(Section):
    confirmed: Duration = spelled("7d")
    """Images, once every destination confirmed them."""
    orders: Duration = spelled("30d")
    """Orders, after their last change and their scheduled day."""
    messages: Duration = spelled("14d")
    """HL7 messages as received."""
    served: Duration = spelled("7d")
    """What was answered to which scanner."""
    queries: Duration = spelled("7d")
    """What the scanners asked, and what became of it."""
    custody: Duration = spelled("90d")
    """What became of an image, after it was purged."""
    mpps: Duration = spelled("90d")
    """Performed procedure steps, after the last word about them; longer if a RIS has not taken one."""


class Console(Section):
    address: Host = spelled("127.0.0.1")
    """The address of the web pages: loopback, for there are no accounts yet."""
    port: OptionalPort = spelled(8080)
    """Their port; 0: no console."""


class Config(Section):
    """The whole file."""

    site: Site
    """Write a [site] section with name and timezone."""
    box: Box
    """Write a [box] section with id."""
    limits: Limits = spelled({})
    disk: DiskSection = spelled({})
    listen: tuple[Listen, ...] = spelled([{}])
    mllp: Mllp = spelled({})
    sender: tuple[Sender, ...] = spelled([])
    desk: Desk = spelled({})
    worklist: Worklist = spelled({})
    scanner: tuple[Scanner, ...] = spelled([])
    ris: tuple[Ris, ...] = spelled([])
    destination: tuple[Destination, ...] = spelled([])
    group: tuple[Group, ...] = spelled([])
    routing: Routing = spelled({})
    check: Check = spelled({})
    orders: Orders = spelled({})
    compression: Compression = spelled({})
    retention: Retention = spelled({})
    health: HealthSection = spelled({})
    metrics: Metrics = spelled({})
    mqtt: Mqtt = spelled({})
    commands: CommandsSection = spelled({})
    syslog: SyslogSection = spelled({})
    console: Console = spelled({})
    update: UpdateSection = spelled({})

    def retention_of(self, destination: AnyDestination) -> timedelta:
        """How long an image is kept once this destination and all others confirmed it."""
        return destination.retention if destination.retention is not None else self.retention.confirmed

    def members(self, name: str) -> tuple[str, ...]:
        """The destinations behind a name that routing may use: a destination, or a group of them."""
        return next((group.members for group in self.group if group.name == name), (name,))

    @property
    def places(self) -> tuple[str, ...]:
        """The names that routing may use."""
        return (*(one.name for one in self.destination), *(one.name for one in self.group))

    @property
    def names(self) -> frozenset[str]:
        """The names that the file gives to peers and groups of them."""
        return frozenset(one.name for table in (self.destination, self.ris, self.sender, self.group) for one in table)

    @property
    def ris_names(self) -> dict[str, str]:
        """What each RIS is called among peers of every kind, by its name: where a destination has the same, with ":ris"
        behind it."""
        taken = {one.name for one in self.destination}
        return {one.name: f"{one.name}:ris" if one.name in taken else one.name for one in self.ris}

    @property
    def configured(self) -> Configured:
        """What is named here of that which `gateway status` and its like look at."""
        watching = (Part.HEALTH, Part.REPORTING) if self.mqtt.host else (Part.HEALTH,)
        return Configured(
            parts=(*IMAGES, *watching),
            destinations=[one.name for one in self.destination],
            refresh={ris.name: ris.refresh for ris in self.ris},
            mpps_peers=self.mpps_peers,
            order_receivers=self.order_receivers,
        )

    @property
    def dicom_nodes(self) -> tuple[DicomDestination, ...]:
        """The destinations that have an AE title."""
        return tuple(one for one in self.destination if isinstance(one, DicomDestination))

    @property
    def mpps_peers(self) -> tuple[str, ...]:
        """The names of those that performed procedure steps are passed on to; no two are the same."""
        rises = [one.name for one in self.ris if one.mpps]
        return (*rises, *(one.name for one in self.dicom_nodes if one.mpps))

    @property
    def order_receivers(self) -> tuple[str, ...]:
        """The names of the RISs that are told what became of their orders."""
        return tuple(one.name for one in self.ris if one.orders_out.host and one.orders_out.format != "off")
