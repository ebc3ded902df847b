"""An accepted object leaves nothing behind in memory, whatever the garbage collector does."""

from __future__ import annotations

import gc
import struct
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.net.dicom_service import Caller
from gateway.roles.storage import Storage
from gateway.spool import Spool

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
OBJECTS, SIZE = 100, 100_000
PIXELS = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, SIZE - 12) + bytes(SIZE - 12)


def test_what_was_accepted_is_not_held(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, now=lambda: datetime.now(UTC), reserve=lambda _total: 0)
    storage = Storage(
        spool, spool.accepting(), object_max=1 << 30, now=lambda: datetime.now(UTC), received=lambda: None
    )
    caller = Caller(calling_ae="CT1", called_ae="GATEWAY", address="10.1.1.20", association="a1")
    context = AcceptedContext(id=1, abstract_syntax=CT, transfer_syntax=EXPLICIT)
    receivers = []
    gc.disable()
    tracemalloc.start()
    try:
        for number in range(OBJECTS):
            command = CommandSet(
                CommandField=CommandField.C_STORE_RQ,
                AffectedSOPClassUID=CT,
                AffectedSOPInstanceUID=f"2.25.{number}",
                MessageID=1,
                Priority=0,
                CommandDataSetType=1,
            )
            receiver = storage.begin_store(caller, context, command)
            receiver.write([memoryview(bytearray(PIXELS))])
            assert receiver.complete().result(30) == (0, "")
            receivers.append(receiver)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
        spool.close()
    assert held < OBJECTS * SIZE / 10
