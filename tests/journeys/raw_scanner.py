"""A scanner of our own wire for what honest SCUs do not send: any text as UID, and files too big for memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gateway.dicom.convert import Extent
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.negotiation import propose
from gateway.net.dicom_client import Peer, Requestor
from tests.peers.processes import HOST


def store(
    port: int,
    path: Path,
    uids: Sequence[str],
    *,
    SOPClassUID: str,
    TransferSyntaxUID: str,
    offset: int,
    calling: str = "CT1",
) -> list[int]:
    """C-STORE the data set at `offset` of `path` once under each of `uids`; the statuses."""
    peer = Peer(host=HOST, port=port, called_ae="GATEWAY", calling_ae=calling, connect_timeout=5, timeout=60)
    statuses = []
    source = os.open(path, os.O_RDONLY)
    try:
        with Requestor.connect(peer, propose({SOPClassUID: [TransferSyntaxUID]})) as requestor:
            context = requestor.context_for(SOPClassUID, TransferSyntaxUID)
            assert context is not None
            for uid in uids:
                command = CommandSet(
                    CommandField=CommandField.C_STORE_RQ,
                    AffectedSOPClassUID=SOPClassUID,
                    AffectedSOPInstanceUID=uid,
                    MessageID=requestor.next_message_id(),
                    Priority=0,
                    CommandDataSetType=1,
                )
                whole = Extent(offset=offset, length=path.stat().st_size - offset)
                statuses.append(requestor.store(context, command, [whole], source).Status or 0)
    finally:
        os.close(source)
    return statuses
