"""Compression on its way to a PACS: what it accepted, what it can't take, and what becomes of a codec that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, evt

from gateway.domain.compression import DEFLATED, JPEG_2000, JPEG_LS, RLE, SYNTAXES, Syntax
from gateway.domain.model import Confirm, DeliveryState
from gateway.domain.window import parse_window
from gateway.net.codec_object import work
from gateway.net.codec_task import Made
from gateway.net.share import prepare
from gateway.roles.forward import compressing
from gateway.roles.forward.folder import Folder
from gateway.spool import audit, compression
from tests.codec import corpus
from tests.codec.objects import as_file, task
from tests.journeys.forwarding import LIMIT, Forwarding, forwarding, target, to
from tests.peers import objects
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import STANDARD_STORAGE, serving, storage_scp

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
CODEC_CALLS = {
    "_CharLS": ("_encode", "_decode", "decode"),
    "_openjpeg": ("encode_array", "encode_buffer", "decode"),
    "rle.utils": ("encode_pixel_data", "decode_pixel_data", "encode_array", "decode_frame"),
}
ALL = [*NATIVE, JPEG_LS, JPEG_2000, RLE, DEFLATED]


@dataclass(slots=True)
class Choosy:
    """A PACS that negotiates everything and takes what `judge` says of a transfer syntax."""

    port: int
    seen: list[str] = field(default_factory=list)
    """The transfer syntax of each C-STORE."""


@contextmanager
def choosy(judge: Callable[[str], int | None]) -> Iterator[Choosy]:
    """`judge`: the status for an object in that transfer syntax; None: A-ABORT."""
    scp = Choosy(free_port())
    entity = AE(ae_title="PACS")
    for sop_class in STANDARD_STORAGE:
        entity.add_supported_context(sop_class, ALL)

    def store(event: evt.Event) -> int:
        scp.seen.append(str(event.context.transfer_syntax))
        status = judge(scp.seen[-1])
        if status is None:
            event.assoc.abort()
        return status or 0

    with serving(entity, scp.port, [(evt.EVT_C_STORE, store)]):
        yield scp


def bars(role: Forwarding) -> set[tuple[str, str]]:
    return {(one.destination, one.subject) for one in compression.bars(role.spool.db.read())}


def test_a_pacs_gets_each_object_in_the_best_form_it_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"frames": JPEG_LS, "segmentation": DEFLATED, "rgb-frames": JPEG_LS, "big-endian": "1.2.840.10008.1.2.2"}
    with (
        storage_scp(transfer_syntaxes=[*ALL, names["big-endian"]]) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        uids = {name: role.put(corpus.made(name, tmp_path)) for name in [*names, "icon"]}
        role.until_all(uids.values())
        got = {name: scp.stored(uid)[0] for name, uid in uids.items()}
        role.until(lambda: not list(role.spool.files.derived.iterdir()), what="forms are let go")
        custody = {row["sent_as"] for row in role.spool.db.read().execute("SELECT sent_as FROM delivery")}
    assert {name: got[name].TransferSyntaxUID for name in names} == names
    assert got["icon"].TransferSyntaxUID in NATIVE  # too small to be worth it
    assert {JPEG_LS, DEFLATED} <= custody
    sent = _parsed(got["frames"].dataset)
    before = dcmread(tmp_path / "frames.dcm")
    del sent.PixelData, before.PixelData
    assert sent == before


def test_two_destinations_share_a_form_and_one_that_wants_none_gets_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(compressing.Derived, "keep", _noting(compressing.Derived.keep, asked))
    with (
        storage_scp(transfer_syntaxes=ALL) as one,
        storage_scp(transfer_syntaxes=ALL) as two,
        storage_scp(transfer_syntaxes=ALL) as three,
        forwarding(
            tmp_path,
            [
                target(one.port, name="one", lossless=True),
                target(two.port, name="two", lossless=True),
                target(three.port, name="three"),
            ],
            monkeypatch=monkeypatch,
        ) as role,
    ):
        uid = role.put(corpus.made("frames", tmp_path))
        role.until(lambda: role.states().get(uid) == [DeliveryState.CONFIRMED] * 3, what="all three have it")
    forms = [scp.stored(uid)[0].TransferSyntaxUID for scp in (one, two, three)]
    assert forms == [JPEG_LS, JPEG_LS, ExplicitVRLittleEndian]
    assert len(asked) == 1


def test_2_3_the_gateways_own_process_calls_no_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codecs hold the GIL and crash in threads: objects go out smaller, and native again, while here every codec is
    poisoned."""
    names = ("frames", "rgb-frames")
    plain = [corpus.made(name, tmp_path) for name in names]
    asked = [task(path, accepted=(JPEG_2000, JPEG_LS, RLE)) for path in plain]
    small = [as_file(one, made) for one, made in ((one, work(one)) for one in asked) if isinstance(made, Made)]
    assert len(small) == len(names)
    called = poison(monkeypatch)
    for scp_takes, paths in ((ALL, plain), (NATIVE, small)):
        folder = tmp_path / str(len(scp_takes))
        folder.mkdir()
        with (
            storage_scp(transfer_syntaxes=scp_takes) as scp,
            forwarding(folder, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
        ):
            uids = [role.put(path) for path in paths]
            role.until_all(uids)
            sent = {str(scp.stored(uid)[0].TransferSyntaxUID) in NATIVE for uid in uids}
        assert sent == {scp_takes is NATIVE}
    assert called == []


def poison(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every way into the codec libraries, in this process, raises; which were taken."""
    called: list[str] = []

    def poisoned(name: str) -> Callable[..., None]:
        def call(*_: object, **__: object) -> None:
            called.append(name)
            raise AssertionError(f"{name} was called in the gateway's own process")

        return call

    for module, names in CODEC_CALLS.items():
        for name in names:
            monkeypatch.setattr(import_module(module), name, poisoned(f"{module}.{name}"))
    return called


def test_a_pacs_that_takes_nothing_but_native_gets_what_was_encapsulated_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corpus.made("signed-14-of-16", tmp_path)
    asked = task(path, accepted=(JPEG_2000,))
    made = work(asked)
    assert isinstance(made, Made)
    with (
        storage_scp(transfer_syntaxes=[ImplicitVRLittleEndian]) as scp,
        forwarding(tmp_path / "gw", [target(scp.port)], monkeypatch=monkeypatch) as role,
    ):
        uid = role.put(as_file(asked, made))
        role.until_all([uid])
        (got,) = scp.stored(uid)
    assert got.TransferSyntaxUID == ImplicitVRLittleEndian
    assert dcmread(path).PixelData in got.dataset


def test_codecs_work_on_what_is_queued_behind_a_batch_while_its_last_object_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[set[Path]] = []
    running: list[Forwarding] = []

    def patient(syntax: str) -> int:
        """The destination takes its time over the first object: until forms of another batch are there."""
        if not ready:
            folder = running[0].spool.files.derived
            running[0].until(lambda: len(set(folder.glob("*.dataset"))) > 2, what="a later batch is made ready")
            ready.append(set(folder.glob("*.dataset")))
        return 0

    with (
        choosy(patient) as scp,
        forwarding(
            tmp_path,
            [
                target(
                    lambda: to(scp.port, timeout=2 * LIMIT), lossless=True, batch=2, window=parse_window("02:00-23:00")
                )
            ],
            monkeypatch=monkeypatch,
        ) as role,
    ):
        running.append(role)
        made = [corpus.gray(f"slice {number}", frames=4) for number in range(6)]
        uids = [role.put(objects.write(tmp_path, one)) for one in made]
        role.until_all(uids, DeliveryState.QUEUED)
        role.clock.advance(timedelta(hours=2))
        role.until_all(uids)
        role.until(lambda: not list(role.spool.files.derived.iterdir()), what="forms are let go")
    assert ready
    assert scp.seen == [JPEG_LS] * len(uids)


def test_classes_whose_forms_need_more_than_128_contexts_go_over_several_associations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 SOP classes in six transfer syntaxes and more: none is refused, and none goes native for want of a context."""
    classes = STANDARD_STORAGE[:30]
    with (
        storage_scp(transfer_syntaxes=[JPEG_LS, *NATIVE]) as scp,
        forwarding(
            tmp_path,
            [target(scp.port, lossless=True, window=parse_window("02:00-23:00"))],
            monkeypatch=monkeypatch,
        ) as role,
    ):
        uids: list[str] = []
        for number, sop_class in enumerate(classes):
            one = corpus.gray(f"class {number}", frames=2)
            one.SOPClassUID = UID(sop_class)
            uids.append(role.put(objects.write(tmp_path, one)))
        role.until_all(uids, DeliveryState.QUEUED)
        role.clock.advance(timedelta(hours=2))
        role.until_all(uids)
        got = [(one.SOPClassUID, one.TransferSyntaxUID) for uid in uids for one in scp.stored(uid)]
    assert got == [(sop_class, JPEG_LS) for sop_class in classes]
    assert 2 <= len(scp.associations) <= 3


@pytest.mark.parametrize("verdict", [0xA900, 0xC000, None])
def test_what_a_pacs_does_not_take_compressed_it_gets_once_as_it_came_and_so_from_then_on(
    verdict: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        choosy(lambda syntax: verdict if syntax == JPEG_LS else 0) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        first = role.put(corpus.made("frames", tmp_path))
        role.until_all([first])
        role.until(lambda: bars(role) == {("pacs", MRImageStorage)}, what="the class is barred")
        second = role.put(corpus.made("unsigned-14-of-16", tmp_path))
        third = role.put(corpus.made("odd-frames", tmp_path))
        role.until_all([second, third])
        assert scp.seen == [JPEG_LS, ExplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRLittleEndian]
        assert compression.ALARM_REFUSED in role.alarms()
        allowed = role.spool.db.write(lambda c: compression.allow(c, destination="pacs", now=role.clock())).result()
        assert (allowed, bars(role), compression.ALARM_REFUSED in role.alarms()) == (1, set(), False)
        role.put(corpus.made("rgb-frames", tmp_path))
        role.put(corpus.made("overlay-late", tmp_path))
        role.until(lambda: JPEG_LS in scp.seen[4:], what="it is tried again")


@pytest.mark.parametrize(
    ("accepts", "forms"),
    [
        (("jpeg-ls", "rle"), {"frames": JPEG_LS, "rgb-frames": JPEG_LS, "segmentation": ExplicitVRLittleEndian}),
        (("jpeg-2000", "deflated"), {"frames": JPEG_2000, "rgb-frames": DEFLATED, "segmentation": DEFLATED}),
        ((), dict.fromkeys(("frames", "rgb-frames", "segmentation"), ExplicitVRLittleEndian)),
    ],
)
def test_where_nothing_is_negotiated_the_site_says_what_is_taken(
    accepts: tuple[str, ...], forms: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "share"
    place.mkdir()
    prepare(place, "pacs")
    taken = frozenset[str]().union(*(SYNTAXES[Syntax(one)] for one in accepts))
    way = Folder(path=place, owner="pacs", confirm=Confirm.HASH, accepts=taken)
    with forwarding(
        tmp_path, [target(0, way=way, confirm=Confirm.HASH, lossless=True)], monkeypatch=monkeypatch
    ) as role:
        uids = {role.put(corpus.made(name, tmp_path)): name for name in forms}
        role.until_all(uids)
    written = [dcmread(path) for path in place.glob("*/*.dcm")]
    assert {uids[one.SOPInstanceUID]: str(one.file_meta.TransferSyntaxUID) for one in written} == forms


def test_what_a_pacs_does_not_take_at_all_bars_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        choosy(lambda _: 0xA900) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        uid = role.put(corpus.made("frames", tmp_path))
        role.until_all([uid], DeliveryState.REFUSED)
        assert (scp.seen, bars(role)) == ([JPEG_LS, ExplicitVRLittleEndian], set())


def test_an_image_that_did_not_come_back_as_it_went_in_goes_out_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = f"{JPEG_LS} gray 16.12.11.0 None"
    answer = '{"made": false, "why": "mismatch", "mismatch": "' + kind + '"}'
    script = tmp_path / "codec.py"
    script.write_text(
        f"import sys\nprint('[\"{JPEG_LS}\"]', flush=True)\nfor line in sys.stdin:\n    print({answer!r}, flush=True)\n"
    )
    _with_codec(monkeypatch, str(script))
    with (
        storage_scp(transfer_syntaxes=ALL) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        uid = role.put(corpus.made("frames", tmp_path))
        role.until_all([uid])
        role.until(lambda: bars(role) == {("", kind)}, what="the kind is barred")
        (alarm,) = audit.active_alarms(role.spool.db.read(), code=compression.ALARM_MISMATCH)
        assert alarm.subject == kind
    assert scp.stored(uid)[0].TransferSyntaxUID == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    "fault", ["raise SystemExit(1)", "import time, sys; print('[]', flush=True); sys.stdin.read()"]
)
def test_without_codecs_everything_goes_out_as_it_came(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "codec.py"
    script.write_text(fault)
    _with_codec(monkeypatch, str(script))
    with (
        storage_scp(transfer_syntaxes=ALL) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        uid = role.put(corpus.made("frames", tmp_path))
        role.until_all([uid])
        assert compressing.ALARM_CODECS in role.alarms()
    assert scp.stored(uid)[0].TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_disk_without_room_compresses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressing.Derived, "has_room", lambda *_: False)
    with (
        storage_scp(transfer_syntaxes=ALL) as scp,
        forwarding(tmp_path, [target(scp.port, lossless=True)], monkeypatch=monkeypatch) as role,
    ):
        uid = role.put(corpus.made("frames", tmp_path))
        role.until_all([uid])
    assert scp.stored(uid)[0].TransferSyntaxUID == ExplicitVRLittleEndian


def _with_codec(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Codec processes run this script."""
    import sys

    from gateway.net.codec import Codecs
    from tests.journeys import forwarding as journeys

    def codecs() -> Codecs:
        return Codecs(workers=1, memory=1 << 31, timeout=3.0, tasks=500, command=(sys.executable, script))

    monkeypatch.setattr(journeys, "codecs", codecs)


def _noting(keep: Callable[..., None], asked: list[object]) -> Callable[..., None]:
    def note(self: object, key: object, kept: object) -> None:
        asked.append(key)
        keep(self, key, kept)

    return note


def _parsed(dataset: bytes) -> Dataset:
    return read_dataset(BytesIO(dataset), is_implicit_VR=False, is_little_endian=True)
