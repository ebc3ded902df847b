"""The sections [[destination]], one class for each kind, and [[group]].

What is promised: a kind offers only what it can do. A way of confirming that it has not is an error of the
configuration, not a wait for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from gateway.config.section import Certificates, Section, Tls, spelled
from gateway.config.values import (
    AE,
    Count,
    Duration,
    Flag,
    Folder,
    Host,
    Name,
    OptionalDuration,
    Port,
    SecretPath,
    Size,
    SOPClass,
    TimesOfDay,
    invalid,
    parse_url,
    shape,
)
from gateway.domain.compression import Syntax
from gateway.domain.model import Confirm, Lane

CallingAE = Literal["own", "scanner"]
"""The AE title we call with: [box] ae, or that of the scanner the object came from."""
SLOWEST_RATE: Final = 8 * 1024


class Backoff(Section):
    base: Duration = spelled("2s")
    """The wait after the first failure; it doubles with each."""
    cap: Duration = spelled("10m")
    """The longest wait. A temporary failure is tried again for ever."""


class AnyDestination(Section):
    """What holds for every kind."""

    name: Name
    """Write a short name of this destination for routing, logs and screens."""
    compression: Literal["none", "lossless"]
    """Write "none": images go out as they came; or "lossless": in the best form of those that the destination accepts
    that loses nothing, proven by decoding. Look at the image of `gateway compression test` there first."""
    lanes: Annotated[tuple[Lane, ...], Field(min_length=1)] = spelled([lane.value for lane in Lane])
    """The lanes it has, each with an association of its own: any of "stat", "routine", "bulk". While one has something
    to send, those behind it share an eighth of the link."""
    concurrency: Annotated[Count, Field(le=16)] = spelled(1)
    """How many associations one lane may have at a time; it begins with one, and adds one for each batch gone well."""
    rate: Size = spelled("0")
    """The most bytes per second, over all its lanes; "0": no cap."""
    window: TimesOfDay = spelled("always")
    """When it is sent to, in times of day at the site: "22:00-06:00", with commas between several; or "always"."""
    stat_ignores_window: Flag = spelled(False)
    """The lane "stat" is sent at any time."""
    expect_refused: tuple[SOPClass, ...] = spelled([])
    """SOP classes it is known to refuse: a refusal of these raises no alarm and holds up no purge."""
    failover: tuple[Name, ...] = spelled([])
    """Destinations that get what is queued for this one while it can't be reached, in this order."""
    failover_after: Duration = spelled("5m")
    """How long it can't have been reached by then."""
    retry: Backoff = spelled({})
    """The waits between two attempts."""
    batch: Count = spelled(200)
    """Images claimed for one association."""
    retention: OptionalDuration = spelled("")
    """How long an image is kept here once confirmed; empty: as [retention] confirmed."""

    @field_validator("rate")
    @classmethod
    def _not_a_standstill(cls, rate: int) -> int:
        if 0 < rate < SLOWEST_RATE:
            raise invalid("is too slow for any image to arrive", 'write "8KiB" per second or more, or "0"')
        return rate


class Remote(AnyDestination):
    """What holds for every kind that is called over the network."""

    timeout: Duration = spelled("60s")
    """How long an answer may take."""
    connect_timeout: Duration = spelled("10s")
    """How long the connection and the association may take to begin."""


class DicomDestination(Remote, Tls):
    """A DICOM node."""

    kind: Literal["dicom"] = spelled("dicom")
    """How it is reached."""
    host: Host
    """Write the host name or address of the destination."""
    port: Port = spelled(104)
    """Its DICOM port."""
    ae: AE
    """Write the AE title of the destination, as it knows itself."""
    calling_ae: CallingAE = spelled("own")
    """"own": we call as [box] ae; "scanner": as the scanner the image came from."""
    confirm: Literal[Confirm.COMMITMENT, Confirm.QUERY, Confirm.STATUS]
    """Write what proves that it holds an image, before ours may be purged: "commitment" (it promises by storage
    commitment; the strongest, if it can), "query" (we find the image there by C-FIND), or "status" (its answer
    to the C-STORE alone; the weakest)."""
    learned_for: Duration = spelled("12h")
    """How long compressed forms that it refused for a SOP class are not offered again."""
    commitment_ae: CallingAE = spelled("own")
    """Who asks it for commitment, and is told: "own", or as calling_ae for a PACS that answers only who sent."""
    commitment_return: Literal["any", "listener"] = spelled("any")
    """Where its result comes: "any" waits on the association that asked, and takes it on our port as well;
    "listener" ends the association at once and takes the result on our port alone."""
    commitment_wait: Duration = spelled("10s")
    """How long the association stays open for the result of storage commitment."""
    commitment_timeout: Duration = spelled("2d")
    """A result that has not come by then counts as failed: the image is sent again."""
    mpps: Flag = spelled(False)
    """Pass performed procedure steps on to it."""
    test_store: Flag = spelled(False)
    """Whether health stores the one test image of this box there, once an hour (docs/operations/health.md)."""


class GatewayDestination(DicomDestination):
    """Another gateway, on the way to its own destinations."""

    kind: Literal["gateway"] = spelled("gateway")  # type: ignore[assignment]  # the one key that tells them apart
    """How it is reached: as a DICOM node that answers for its destinations."""
    port: Port = spelled(11112)
    """Its DICOM port."""
    confirm: Literal[Confirm.COMMITMENT] = spelled("commitment")
    """What proves that an image has arrived: it commits once all of its own destinations have confirmed the image."""
    commitment_timeout: Duration = spelled("30d")
    """A result that has not come by then counts as failed: the image is sent again. Its own may be away for long."""


class Unasked(AnyDestination):
    """What holds for every kind that negotiates nothing."""

    accepts: tuple[Syntax, ...] = spelled([Syntax.JPEG_LS.value, Syntax.JPEG_2000.value, Syntax.RLE.value])
    """With compression "lossless", what it takes, for it can't be asked: any of "jpeg-ls", "jpeg-2000", "htj2k", "rle",
    "deflated". Images that came compressed go as they came."""


class WebDestination(Remote, Unasked, Certificates):
    """A DICOMweb service."""

    kind: Literal["dicomweb"] = spelled("dicomweb")
    """How it is reached: STOW-RS and QIDO-RS."""
    url: Annotated[str, BeforeValidator(parse_url)]
    """Write the base of its resources, "https://pacs.example/dicom-web", without what belongs to studies."""
    confirm: Literal[Confirm.QUERY, Confirm.STATUS]
    """Write what proves that it holds an image, before ours may be purged: "query" (we find the image there by
    QIDO-RS), or "status" (its answer to STOW-RS alone; the weakest)."""
    token: SecretPath = spelled("")
    """A file with a bearer token, read anew for each connection."""
    user: Annotated[str, Field(max_length=256)] = ""
    """The user for Basic authentication; empty: none."""
    password: SecretPath = spelled("")
    """A file with that user's password."""

    @field_validator("password")
    @classmethod
    def _of_somebody(cls, password: Path | None, info: ValidationInfo) -> Path | None:
        if (password is None) != (not info.data.get("user")):
            raise invalid("and user must go together", "write both, or neither")
        if password is not None and info.data.get("token") is not None:
            raise invalid("and token exclude each other", "write one of them")
        return password

    @property
    def base(self) -> str:
        """The url, without a slash at the end."""
        return self.url.rstrip("/")


class FolderDestination(Unasked):
    """A folder, or a mounted share."""

    kind: Literal["folder"] = spelled("folder")
    """How it is reached: files are written there."""
    path: Folder
    """Write the folder's path. It must have been prepared once, when the share was mounted: `gateway destinations
    test NAME --prepare`; else nothing is written there."""
    confirm: Literal[Confirm.HASH, Confirm.STATUS]
    """Write what proves that it holds an image, before ours may be purged: "hash" (each file is read back and
    compared), or "status" (it was written and synced without an error)."""


KINDS: Final = {
    "dicom": DicomDestination,
    "dicomweb": WebDestination,
    "folder": FolderDestination,
    "gateway": GatewayDestination,
}
"""The kinds of destination of this release."""


def _kind_of(section: Any) -> str:
    return str(section.get("kind", "dicom")) if isinstance(section, dict) else str(section.kind)


def _known_kind(section: object) -> object:
    kind = section.get("kind", "dicom") if isinstance(section, dict) else getattr(section, "kind", "dicom")
    if kind not in KINDS:
        supported = ", ".join(f'"{known}"' for known in KINDS)
        raise invalid(f"its kind is {shape(kind)}, none of this release's kinds", f"set kind to one of: {supported}")
    return section


Destination = Annotated[
    Annotated[DicomDestination, Tag("dicom")]
    | Annotated[WebDestination, Tag("dicomweb")]
    | Annotated[FolderDestination, Tag("folder")]
    | Annotated[GatewayDestination, Tag("gateway")],
    Discriminator(_kind_of),
    BeforeValidator(_known_kind),
]


class Group(Section):
    """Destinations that get the same images."""

    name: Name
    """Write a name for routing; no destination has it."""
    members: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Write the names of the destinations that each get what is routed to the group."""
