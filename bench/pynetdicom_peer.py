"""pynetdicom as its documentation shows it, as a program of its own: `serve PORT FOLDER` or `send PORT FILE...`.

`send` prints the seconds of its C-STOREs as JSON; imports and the association are not in them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, AllStoragePresentationContexts, evt

from tests.peers.processes import HOST


def serve(port: int, folder: Path) -> None:
    """Write what comes into `folder` until killed."""

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0x0000

    entity = AE()
    entity.supported_contexts = AllStoragePresentationContexts
    entity.start_server((HOST, port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


def send(port: int, files: list[Path]) -> int:
    """Send the files over one association; the number that was not answered with success."""
    entity = AE()
    for sop_class in (CTImageStorage, MRImageStorage):
        entity.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
    association = entity.associate(HOST, port, ae_title="STORESCP")
    if not association.is_established:
        return len(files)
    began, worked = time.monotonic(), time.process_time()
    statuses = [association.send_c_store(dcmread(path)).get("Status") for path in files]
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - worked}))
    association.release()
    return sum(status != 0 for status in statuses)


if __name__ == "__main__":
    what, number, *rest = sys.argv[1:]
    if what == "serve":
        serve(int(number), Path(rest[0]))
    else:
        sys.exit(1 if send(int(number), [Path(name) for name in rest]) else 0)
