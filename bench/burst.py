"""A sender without end, `PORT AE FILE...`: the same objects again and again, each time under another SOP Instance UID.

Prints "sending" after the first success, sends until its stdin is closed, then prints how many objects were
accepted since. The UID is replaced in the bytes by one of the same length; the rest goes by sendfile.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from bench.senders import peer_of
from bench.servers import Server
from gateway.dicom import part10
from gateway.dicom.convert import Extent, Segment
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import propose
from gateway.net.dicom_client import Requestor

_HEAD = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A file to send again and again."""

    fd: int
    meta: part10.FileMetaRead
    before: bytes
    """The data set up to the SOP Instance UID."""
    behind: Extent
    length: int
    """Of the UID."""


def opened(path: Path) -> Original:
    fd = os.open(path, os.O_RDONLY)
    head = os.pread(fd, part10.LONGEST_HEADER + _HEAD, 0)
    meta = part10.read(head)
    uid = meta.SOPInstanceUID.encode()
    place = head.index(uid, meta.data_offset)
    end = place + len(uid)
    return Original(
        fd=fd,
        meta=meta,
        before=head[meta.data_offset : place],
        behind=Extent(offset=end, length=os.fstat(fd).st_size - end),
        length=len(uid),
    )


def numbered(length: int) -> Iterator[str]:
    """UIDs of that length, no two the same here or in another process."""
    root = f"2.25.9{os.getpid():07}"
    number = 0
    while True:
        yield root + f"{number:0{length - len(root)}}"
        number += 1


def main() -> None:
    port, ae, *names = sys.argv[1:]
    originals = [opened(Path(name)) for name in names]
    uids = {length: numbered(length) for length in {original.length for original in originals}}
    wanted = {original.meta.SOPClassUID: [original.meta.TransferSyntaxUID] for original in originals}
    server = Server(ae=ae, port=int(port), pid=0, stored=int)
    accepted = 0
    with Requestor.connect(peer_of(server), propose(wanted)) as requestor:
        for original in cycle(originals):
            _send(requestor, original, next(uids[original.length]))
            accepted += 1
            if accepted == 1:
                print("sending", flush=True)
            if select.select([sys.stdin], [], [], 0)[0]:
                break
    print(accepted)


def _send(requestor: Requestor, original: Original, uid: str) -> None:
    context = requestor.context_for(original.meta.SOPClassUID, original.meta.TransferSyntaxUID)
    assert context is not None
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ,
        AffectedSOPClassUID=original.meta.SOPClassUID,
        AffectedSOPInstanceUID=uid,
        MessageID=requestor.next_message_id(),
        Priority=0,
        CommandDataSetType=1,
    )
    segments: list[Segment] = [original.before, uid.encode(), original.behind]
    status = requestor.store(context, command, segments, original.fd).Status
    if status != 0:
        sys.exit(f"a C-STORE was answered {status}")


if __name__ == "__main__":
    main()
