"""Orthanc as a foreign PACS: receiver, sender and storage commitment, with a small REST client.

It checks nothing about the caller: any called AE title, any calling modality, unknown SOP classes, any syntax.
Orthanc re-serialises a data set when it stores it; use pynetdicom's `StorageSCP` to compare received bytes.
"""

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers.processes import HOST, Program, free_port, program, wait_until_connected

_PROGRAM = Path("/usr/sbin/Orthanc")
available = _PROGRAM.exists()
_WORKLIST_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
serves_worklists = _WORKLIST_PLUGIN.exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Modality:
    """A DICOM node that Orthanc may call by name."""

    ae: str
    port: int
    host: str = HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Orthanc:
    """A running Orthanc; `port` is DICOM, `http_port` is REST."""

    program: Program
    ae: str
    port: int
    http_port: int

    def rest(self, path: str, *, body: object = None, method: str | None = None, limit: float = 60) -> Any:
        """The decoded JSON answer of a REST call; HTTPError carries Orthanc's refusal."""
        answer = self._http(path, json.dumps(body).encode() if body is not None else None, method=method, limit=limit)
        return json.loads(answer) if answer.strip() else None

    def upload(self, file: Path) -> str:
        """Store a Part 10 file through REST; return Orthanc's id of the instance."""
        return str(json.loads(self._http("/instances", file.read_bytes()))["ID"])

    def transcoded(self, instance: str, asked: Mapping[str, object]) -> bytes:
        """The file that /modify makes of an instance."""
        return self._http(f"/instances/{instance}/modify", json.dumps(asked).encode(), method="POST", limit=600)

    def instances(self) -> list[str]:
        """Orthanc's ids of every instance it holds."""
        return list(self.rest("/instances"))

    def by_sop_instance_uid(self) -> dict[str, str]:
        """SOPInstanceUID -> Orthanc's id."""
        return {
            str(instance["MainDicomTags"]["SOPInstanceUID"]): str(instance["ID"])
            for instance in self.rest("/instances?expand")
        }

    def file(self, instance: str) -> bytes:
        """The Part 10 file as Orthanc wrote it."""
        return self._http(f"/instances/{instance}/file")

    def echo(self, modality: str) -> None:
        self.rest(f"/modalities/{modality}/echo", body={})

    def store(self, modality: str, instances: Sequence[str]) -> dict[str, Any]:
        """C-STORE `instances` to `modality`; HTTPError 500 when one is refused."""
        return dict(
            self.rest(f"/modalities/{modality}/store", body={"Resources": list(instances), "Synchronous": True})
        )

    def find_worklist(self, modality: str, query: Mapping[str, object]) -> list[dict[str, Any]]:
        """Worklist query by Orthanc (REST /modalities/x/find-worklist)."""
        return list(self.rest(f"/modalities/{modality}/find-worklist", body=dict(query)))

    def request_commitment(self, modality: str, instances: Sequence[tuple[str, str]]) -> str:
        """Send N-ACTION for (SOP class UID, SOP instance UID) pairs; return the transaction's id for `commitment`."""
        body = {"DicomInstances": [list(instance) for instance in instances]}
        return str(self.rest(f"/modalities/{modality}/storage-commitment", body=body)["ID"])

    def commitment(self, transaction: str, *, limit: float = 90) -> dict[str, Any]:
        """The N-EVENT-REPORT's content once it came: Status "Success" or "Failure", Success and Failures lists."""
        deadline = time.monotonic() + limit
        while (report := dict(self.rest(f"/storage-commitment/{transaction}")))["Status"] == "Pending":
            if time.monotonic() > deadline:
                msg = f"no storage commitment report within {limit} s"
                raise TimeoutError(msg)
            time.sleep(0.02)
        return report

    def _http(self, path: str, body: bytes | None = None, *, method: str | None = None, limit: float = 60) -> bytes:
        request = urllib.request.Request(f"http://{HOST}:{self.http_port}{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=limit) as answer:
            return bytes(answer.read())


@contextmanager
def orthanc(
    folder: Path,
    port: int | None = None,
    http_port: int | None = None,
    *,
    ae: str = "ORTHANC",
    modalities: Mapping[str, Modality] | None = None,
    config: Mapping[str, object] | None = None,
) -> Iterator[Orthanc]:
    """Run Orthanc with its storage in `folder`; `config` overrides any of its settings.

    Storage commitment reports go to the modality whose AE title called, so list the gateway under `modalities`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listen, http = port or free_port(), http_port or free_port()
    settings = {**_settings(folder, ae=ae, port=listen, http_port=http, modalities=modalities or {}), **(config or {})}
    file = folder / "orthanc.json"
    file.write_text(json.dumps(settings, indent=1))
    with program([_PROGRAM, file], port=http, folder=folder) as running:
        wait_until_connected(listen, program=running)
        yield Orthanc(program=running, ae=ae, port=listen, http_port=http)


def worklist_settings(rows: Path, *, callers: Sequence[str]) -> dict[str, object]:
    """Settings that make Orthanc a RIS for these AE titles: `rows` is a folder of worklist files (.wl)."""
    return {
        "Plugins": [str(_WORKLIST_PLUGIN)],
        "Worklists": {"Enable": True, "Database": str(rows)},
        "DicomAlwaysAllowFindWorklist": True,
        "DicomModalities": {ae: [ae, HOST, 104] for ae in callers},
    }


def _settings(
    folder: Path, *, ae: str, port: int, http_port: int, modalities: Mapping[str, Modality]
) -> dict[str, object]:
    return {
        "Name": ae,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [],
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": ae,
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomCheckModalityHost": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomModalities": {
            name: {
                "AET": modality.ae,
                "Host": modality.host,
                "Port": modality.port,
                "AllowNEventReport": True,
                "AllowStorageCommitment": True,
            }
            for name, modality in modalities.items()
        },
        "UnknownSopClassAccepted": True,
        "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
        "StoreMD5ForAttachments": False,
        "OverwriteInstances": False,
        "DicomScuTimeout": 60,
        "SyncStorageArea": False,
        "JobsHistorySize": 100,
        "SaveJobs": False,
    }
