"""DCMTK's programs as peers, always by absolute path: pynetdicom installs scripts of the same names in the venv.

Known: `storescu` and `dcmsend` re-encode the data set as they send; `storescp` keeps received bytes only with +B
(`bit_preserving`); without TCP_NODELAY every DCMTK process stalls about 50 ms per instance (`tuned=True` sets it).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.peers.processes import HOST, Finished, Program, free_port, program, run

_BIN = Path("/usr/bin")
available = all((_BIN / name).exists() for name in ("storescp", "wlmscpfs", "findscu", "storescu", "dcmsend"))
_TUNED = {"TCP_NODELAY": "1", "TCP_BUFFER_LENGTH": "1048576"}
_STATUS = re.compile(r"DIMSE Status\s*: (0x[0-9a-f]{4})")
_FINAL = re.compile(r"Received Final Find Response \((.*)\)")
_STUDY = re.compile(r"\(0020,000d\) UI \[([0-9.]+)")
_NAME = re.compile(r"^\(0010,0010\) PN \[(.*)\] ", re.MULTILINE)
_WORKLIST_CLASS = "1.2.840.10008.5.1.4.31"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Finished):
    """What a DCMTK SCU was told: every final DIMSE status in order, and the responses' data sets (findscu)."""

    statuses: tuple[int, ...]
    rows: tuple[Dataset, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Exit status 0 and nothing but 0000 and pending answers. DCMTK may exit 0 after a refused store."""
        return self.returncode == 0 and all(status in (0x0000, 0xFF00, 0xFF01) for status in self.statuses)


def storescp(
    folder: Path,
    port: int | None = None,
    *,
    ae: str = "STORESCP",
    transfer_syntaxes: str = "+xa",
    bit_preserving: bool = True,
    options: Sequence[str] = (),
    tuned: bool = False,
) -> AbstractContextManager[Program]:
    """A PACS that writes what it gets into `folder`/received (see `received_files`), a process per association.

    `transfer_syntaxes` is DCMTK's preference option: "+xa" all, "+xi" Implicit VR LE only, "+xs" ... .
    """
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    listen = port or free_port()
    keep = ["+B"] if bit_preserving else []
    command = [_BIN / "storescp", "-v", "--fork", "-aet", ae, "-od", received, "-pm", transfer_syntaxes, *keep]
    return program([*command, *options, str(listen)], port=listen, folder=folder, env=_TUNED if tuned else None)


def received_files(folder: Path) -> list[Path]:
    """The files that `storescp(folder)` has written so far."""
    return sorted((folder / "received").iterdir())


@contextmanager
def wlmscpfs(
    folder: Path,
    port: int | None = None,
    *,
    worklist: Mapping[str, Sequence[Dataset]],
    options: Sequence[str] = ("-dfr", "-csk"),
    tuned: bool = False,
) -> Iterator[Program]:
    """A RIS serving `worklist`: AE title -> rows. The called AE title selects the folder of rows.

    The defaults keep the rows' character set and serve rows with missing type 1 values. Change rows while it runs
    with `write_worklist`.
    """
    listen = port or free_port()
    for ae, rows in worklist.items():
        write_worklist(folder, ae, rows)
    command = [_BIN / "wlmscpfs", "-v", "-dfp", folder, *options, str(listen)]
    with program(command, port=listen, folder=folder, env=_TUNED if tuned else None) as ris:
        yield ris


def write_worklist(folder: Path, ae: str, rows: Sequence[Dataset]) -> None:
    """Replace the rows that wlmscpfs serves under `ae`."""
    home = folder / ae
    home.mkdir(parents=True, exist_ok=True)
    (home / "lockfile").touch()
    for old in home.glob("*.wl"):
        old.unlink()
    for number, row in enumerate(rows):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = _WORKLIST_CLASS
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[ae, str(number)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        row.file_meta = meta
        dcmwrite(home / f"{number:05d}.wl", row, enforce_file_format=True)


def part10(data_set: bytes) -> bytes:
    """A file of a data set in Explicit VR Little Endian, not a byte of it changed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _WORKLIST_CLASS
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = BytesIO()
    write_file_meta_info(content, meta)
    return b"\0" * 128 + b"DICM" + content.getvalue() + data_set


def echoscu(port: int, *, called: str, calling: str = "ECHOSCU", options: Sequence[str] = ()) -> Answer:
    return _scu("echoscu", port, called=called, calling=calling, options=options)


def storescu(
    port: int, files: Sequence[Path], *, called: str, calling: str = "STORESCU", options: Sequence[str] = ("-xs",)
) -> Answer:
    """Send `files`; propose other syntaxes by `options` ("-R" proposes what the files need, "-xi" Implicit only)."""
    return _scu("storescu", port, called=called, calling=calling, options=["-nh", *options], files=files)


def dcmsend(
    port: int, files: Sequence[Path], *, called: str, calling: str = "DCMSEND", options: Sequence[str] = ()
) -> Answer:
    return _scu("dcmsend", port, called=called, calling=calling, options=["-nh", *options], files=files)


def findscu(
    port: int,
    keys: Sequence[str],
    *,
    folder: Path,
    called: str,
    calling: str = "FINDSCU",
    model: str = "-W",
    options: Sequence[str] = (),
) -> Answer:
    """Query with `-k` keys such as "PatientName=TEST*" or "ScheduledProcedureStepSequence[0].Modality=CT".

    `folder` must be empty or absent: the responses are extracted there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = [part for key in keys for part in ("-k", key)]
    chosen = [model, "-X", "-od", str(folder), *options, *asked]
    answer = _scu("findscu", port, called=called, calling=calling, options=chosen)
    rows = tuple(dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm")))
    return Answer(returncode=answer.returncode, output=answer.output, statuses=answer.statuses, rows=rows)


def patient_names(files: Sequence[Path]) -> list[str]:
    """The Patient's Name of each file as DCMTK reads it in the character set the file declares (dcmdump +U8).

    DCMTK built with GNU iconv can't convert ISO 2022 IR 87 and 159: such files are an AssertionError.
    """
    ended = run([_BIN / "dcmdump", "+U8", "+L", "+P", "0010,0010", *files])
    assert ended.returncode == 0, ended.output
    names = [name.rstrip() for name in _NAME.findall(ended.output)]
    assert len(names) == len(files)
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one query of several was told."""

    status: str
    """DCMTK's word for the final status: "Success", "Error: DataSetDoesNotMatchSOPClass" (A900) ..."""
    StudyInstanceUIDs: tuple[str, ...]


def find_each(
    port: int, identifiers: Sequence[bytes], *, folder: Path, called: str, calling: str = "FINDSCU"
) -> list[Found]:
    """Ask many queries in one association (findscu -W); each asks for the Study Instance UID among others."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04d}.dcm" for number in range(len(identifiers))]
    for path, identifier in zip(files, identifiers, strict=True):
        path.write_bytes(part10(identifier))
    command = [_BIN / "findscu", "-v", "-W", "-aet", calling, "-aec", called, HOST, str(port), *files]
    ended = run(command, env=_TUNED)
    assert ended.returncode == 0, ended.output[-2000:]
    told = ended.output.split("Sending Find Request")[1:]
    assert len(told) == len(identifiers)
    return [
        Found(
            status="".join(_FINAL.findall(answer)),
            StudyInstanceUIDs=tuple(uid for row in answer.split("Find Response: ")[1:] for uid in _STUDY.findall(row)),
        )
        for answer in told
    ]


def movescu(
    port: int, keys: Sequence[str], *, called: str, destination: str, calling: str = "MOVESCU", model: str = "-S"
) -> Answer:
    asked = [part for key in keys for part in ("-k", key)]
    return _scu("movescu", port, called=called, calling=calling, options=[model, "-aem", destination, *asked])


def termscu(port: int, *, called: str, calling: str = "TERMSCU") -> Answer:
    """Ask the peer to shut down (private SOP class of DCMTK); an honest box refuses the context."""
    return _scu("termscu", port, called=called, calling=calling)


def _scu(
    name: str, port: int, *, called: str, calling: str, options: Sequence[str] = (), files: Sequence[Path] = ()
) -> Answer:
    command = [_BIN / name, "-d", "-aet", calling, "-aec", called, *options, HOST, str(port), *files]
    ended = run(command, limit=120)
    statuses = tuple(int(found, 16) for found in _STATUS.findall(ended.output))
    return Answer(returncode=ended.returncode, output=ended.output, statuses=statuses)
