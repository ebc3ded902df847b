"""Making a box: the release of a stick onto a disk that has nothing that anybody wants to keep.

What is promised: the stick itself is never offered; every image is read back from the disk and compared with what was
signed. The boot partition comes last, so that a disk whose installation was broken off does not start. It is none of
the release and carries no signature: it is compared with the stick alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gateway.domain.boot import Slot
from gateway.domain.update import Manifest
from gateway.net.disks import Disk
from gateway.net.releases import Releases
from gateway.net.slots import chunks_of, contents, fill

LEAST: Final = 4_000_000_000
"""Bytes of a disk: two slots, and some room for images."""
LOADER: Final = "ESP"


def offered(found: Sequence[Disk], stick: Path) -> tuple[Disk, ...]:
    """The disks that may become a box's."""
    return tuple(one for one in found if one.path != stick and one.size >= LEAST)


def install(
    releases: Releases,
    release: tuple[Manifest, bytes],
    places: Mapping[str, Path],
    loader: Path,
    *,
    told: Callable[[str], None] = lambda _: None,
) -> None:
    """Fill the first slot and the boot partition of a disk that was just divided.

    `releases`, `release`: the stick's, already believed; `places`: the disk's partitions by their names; `loader`: the
    boot partition that the stick has for it; `told`: what is being done. Raises TemporaryFailure or PermanentFailure
    as `gateway.net.slots` does; the disk does not start then.
    """
    manifest, raw = release
    for name, chunks in releases.images(manifest, raw):
        told(f"writing {name}")
        fill(places[f"{name}-{Slot.A}"], chunks, manifest.images[name], called=f"images.{name}")
    told("writing the boot partition")
    fill(places[LOADER], chunks_of(loader), contents(loader), called="the boot partition")
