"""The configuration: one TOML file in, frozen values out, or every fault at once with its remedy (DESIGN 9)."""

from gateway.config.check import Check, HoldTimes
from gateway.config.check_rules import load_check_rules
from gateway.config.commands import read_keys
from gateway.config.desk import Desk
from gateway.config.destinations import (
    AnyDestination,
    Backoff,
    CallingAE,
    Destination,
    DicomDestination,
    FolderDestination,
    Group,
    WebDestination,
)
from gateway.config.hl7 import Mllp, OrdersOut, Sender
from gateway.config.iods import shipped_iods
from gateway.config.loading import faults_over, load, parse, text_of
from gateway.config.mqtt import Mqtt
from gateway.config.overlay import Overlay
from gateway.config.problems import ConfigError, Problem
from gateway.config.profiles import load_profiles
from gateway.config.rules import load_rules
from gateway.config.section import ServerTls, Tls
from gateway.config.sections import (
    Box,
    Config,
    Console,
    Limits,
    Listen,
    Orders,
    Retention,
    Ris,
    Routing,
    Scanner,
    Service,
    Site,
    Window,
    Worklist,
    WorklistMode,
    WorklistPolicy,
)
from gateway.config.values import Reserve

__all__ = [
    "AnyDestination",
    "Backoff",
    "Box",
    "CallingAE",
    "Check",
    "Config",
    "ConfigError",
    "Console",
    "Desk",
    "Destination",
    "DicomDestination",
    "FolderDestination",
    "Group",
    "HoldTimes",
    "Limits",
    "Listen",
    "Mllp",
    "Mqtt",
    "Orders",
    "OrdersOut",
    "Overlay",
    "Problem",
    "Reserve",
    "Retention",
    "Ris",
    "Routing",
    "Scanner",
    "Sender",
    "ServerTls",
    "Service",
    "Site",
    "Tls",
    "Window",
    "Worklist",
    "WorklistMode",
    "WebDestination",
    "WorklistPolicy",
    "faults_over",
    "load",
    "load_check_rules",
    "load_profiles",
    "load_rules",
    "parse",
    "read_keys",
    "shipped_iods",
    "text_of",
]
