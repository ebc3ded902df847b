"""The update agent on slots made of files: what is refused, what is written, and what a cut leaves."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.app import updating
from gateway.domain.boot import TRIES, Slot, Standing
from gateway.domain.model import GatewayError, PermanentFailure, TemporaryFailure
from gateway.domain.update import IMAGES
from gateway.net.releases import Releases
from tests.update.releases import (
    KEY,
    ROOM,
    SECOND,
    STRANGER,
    TRUSTED,
    Appliance,
    appliance,
    contents,
    manifest,
    publish,
)


@pytest.fixture
def made(tmp_path: Path) -> Appliance:
    return appliance(tmp_path / "box")


def survey(made: Appliance) -> updating.Survey:
    return updating.survey(made.box, migrations=30)


def install(made: Appliance, source: str, *, signatures: int = 1, ca: Path | None = None) -> None:
    releases = Releases(source, ca=ca)
    release = updating.check(releases, TRUSTED, signatures=signatures)
    updating.install(made.box, survey(made), releases, release)


def code_of(error: pytest.ExceptionInfo[GatewayError]) -> str:
    assert isinstance(error.value, PermanentFailure | TemporaryFailure)
    return error.value.code


@pytest.mark.parametrize("source", ["folder", "bundle"])
def test_a_release_is_written_tried_and_kept(made: Appliance, tmp_path: Path, source: str) -> None:
    publish(tmp_path / "stick", manifest(), [KEY])
    place = tmp_path / "stick" / (manifest().bundle if source == "bundle" else "")
    before = made.holds(Slot.A)
    install(made, str(place))
    assert {name: raw[: len(contents(name, "1.1.0"))] for name, raw in made.holds(Slot.B).items()} == {
        name: contents(name, "1.1.0") for name in IMAGES
    }
    assert made.holds(Slot.A) == before
    assert survey(made).waits_for_restart
    assert made.start() is Slot.B
    assert survey(made).standing is Standing.TRIAL
    assert updating.commit(made.box, survey(made), selftest=lambda: True)
    assert made.start() is Slot.B
    assert survey(made).standing is Standing.GOOD
    assert updating.rollback(made.box, survey(made)) is Slot.A
    assert made.start() is Slot.A


def test_a_release_whose_self_test_fails_is_left(made: Appliance, tmp_path: Path) -> None:
    publish(tmp_path, manifest(), [KEY])
    install(made, str(tmp_path))
    for _ in range(TRIES):
        assert made.start() is Slot.B
        assert not updating.commit(made.box, survey(made), selftest=lambda: False)
    assert made.start() is Slot.A
    found = survey(made)
    assert found.standing is Standing.FELL_BACK
    assert updating.commit(made.box, found, selftest=lambda: pytest.fail("the good version is not on trial"))
    assert survey(made).came_back_from(2)
    assert not survey(made).came_back_from(3)


@pytest.mark.parametrize(
    ("keys", "signatures", "code"),
    [([], 1, "signature"), ([STRANGER], 1, "signature"), ([KEY, STRANGER], 1, "signature"), ([KEY], 2, "signature")],
    ids=["none", "stranger", "one-of-two-strange", "one-of-two-missing"],
)
def test_who_did_not_sign_for_this_box_changes_nothing(
    made: Appliance, tmp_path: Path, keys: list[object], signatures: int, code: str
) -> None:
    publish(tmp_path / "stick", manifest(), keys)  # type: ignore[arg-type]
    before = (made.state, made.holds(Slot.B))
    with pytest.raises(GatewayError) as error:
        install(made, str(tmp_path / "stick"), signatures=signatures)
    assert code_of(error) == code
    assert (made.state, made.holds(Slot.B)) == before


def test_two_people_may_be_asked_for(made: Appliance, tmp_path: Path) -> None:
    publish(tmp_path / "stick", manifest(), [KEY, SECOND])
    install(made, str(tmp_path / "stick"), signatures=2)
    assert survey(made).waits_for_restart


def test_every_byte_of_a_manifest_is_signed(tmp_path: Path) -> None:
    raw = bytearray(publish(tmp_path, manifest(), [KEY]))
    for place in range(len(raw)):
        raw[place] ^= 1
        (tmp_path / "manifest.json").write_bytes(bytes(raw))
        with pytest.raises(PermanentFailure):
            updating.check(Releases(str(tmp_path)), TRUSTED, signatures=1)
        raw[place] ^= 1


@pytest.mark.parametrize("name", IMAGES)
def test_one_changed_byte_of_an_image_is_found_and_never_started(made: Appliance, tmp_path: Path, name: str) -> None:
    wrong = bytearray(contents(name, "1.1.0"))
    wrong[-1] ^= 1
    publish(tmp_path / "stick", manifest(), [KEY], **{name: bytes(wrong)})
    with pytest.raises(GatewayError) as error:
        install(made, str(tmp_path / "stick"))
    assert code_of(error) == "tampered"
    assert [made.start() for _ in range(6)] == [Slot.A] * 6


def test_a_bundle_of_another_release_than_its_pointer_is_refused(made: Appliance, tmp_path: Path) -> None:
    publish(tmp_path / "stick", manifest(), [KEY])
    bundle = (tmp_path / "stick" / manifest().bundle).read_bytes()
    publish(tmp_path / "stick", replace(manifest(), sequence=3), [KEY])
    (tmp_path / "stick" / manifest().bundle).write_bytes(bundle)
    with pytest.raises(GatewayError) as error:
        install(made, str(tmp_path / "stick"))
    assert code_of(error) == "bundle"


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_a_bundle_that_ends_too_soon_is_refused(made: Appliance, tmp_path: Path, share: float) -> None:
    publish(tmp_path / "stick", manifest(), [KEY])
    bundle = tmp_path / "stick" / manifest().bundle
    with tarfile.open(bundle) as tar:
        last = tar.getmembers()[-1]
    bundle.write_bytes(bundle.read_bytes()[: int((last.offset_data + last.size) * share)])
    with pytest.raises(PermanentFailure):
        install(made, str(tmp_path / "stick"))
    assert made.start() is Slot.A


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"arch": "arm64"}, "arch"),
        ({"sequence": 1}, "not-newer"),
        ({"least_migrations": 31}, "one-way"),
    ],
)
def test_what_could_not_run_or_not_be_taken_back_is_refused(
    made: Appliance, tmp_path: Path, change: dict[str, object], code: str
) -> None:
    publish(tmp_path / "stick", replace(manifest(), **change), [KEY])  # type: ignore[arg-type]
    with pytest.raises(PermanentFailure) as error:
        install(made, str(tmp_path / "stick"))
    assert code_of(error) == code


def test_an_image_larger_than_its_partition_is_refused(made: Appliance, tmp_path: Path) -> None:
    said = manifest()
    large = replace(said.images["root"], size=ROOM + 1)
    publish(tmp_path / "stick", replace(said, images={**said.images, "root": large}), [KEY])
    with pytest.raises(PermanentFailure) as error:
        install(made, str(tmp_path / "stick"))
    assert code_of(error) == "room"


def test_a_cut_at_any_write_leaves_the_running_version(made: Appliance, tmp_path: Path) -> None:
    """The agent is stopped after each of the things it does in turn."""
    publish(tmp_path / "stick", manifest(), [KEY])

    class Cut(Exception):
        pass

    def cut(name: str, line: str) -> None:
        if name in line:
            raise Cut

    for image in IMAGES:
        releases = Releases(str(tmp_path / "stick"))
        release = updating.check(releases, TRUSTED, signatures=1)
        with pytest.raises(Cut):
            updating.install(made.box, survey(made), releases, release, told=partial(cut, image))
        assert made.start() is Slot.A
    install(made, str(tmp_path / "stick"))
    assert made.start() is Slot.B


def test_a_cut_while_a_second_release_overwrites_one_that_was_not_yet_tried(made: Appliance, tmp_path: Path) -> None:
    """What was offered before must not be started once it is half of two releases."""
    publish(tmp_path / "stick", manifest(), [KEY])
    install(made, str(tmp_path / "stick"))
    wrong = bytearray(contents("root", "1.2.0"))
    wrong[0] ^= 1
    publish(tmp_path / "stick", manifest("1.2.0", sequence=3), [KEY], root=bytes(wrong))
    with pytest.raises(PermanentFailure):
        install(made, str(tmp_path / "stick"))
    assert [made.start() for _ in range(6)] == [Slot.A] * 6


def test_the_machine_id_is_kept_and_nothing_else(made: Appliance) -> None:
    updating.remember_machine(made.box, "0" * 31 + "f")
    assert made.state.machine == "0" * 31 + "f"
    with pytest.raises(PermanentFailure):
        updating.remember_machine(made.box, "quiet init=/bin/sh")


def test_a_machine_without_slots_says_so(made: Appliance) -> None:
    (made.root / "cmdline").write_text("quiet\n")
    with pytest.raises(PermanentFailure) as error:
        survey(made)
    assert code_of(error) == "no-slots"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """A real https server on loopback: its address, its certificate and the folder that it shows."""
    key, certificate, folder = tmp_path / "key.pem", tmp_path / "crt.pem", tmp_path / "mirror"
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", certificate, "-days", "2", "-subj", "/CN=mirror", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/", certificate, folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_mirror_is_read_as_a_stick_is(made: Appliance, mirror: tuple[str, Path, Path]) -> None:
    address, certificate, folder = mirror
    publish(folder, manifest(), [KEY])
    install(made, address, ca=certificate)
    assert made.start() is Slot.B


def test_a_mirror_that_has_no_release_or_is_another_is_told_apart(
    made: Appliance, mirror: tuple[str, Path, Path]
) -> None:
    address, certificate, _ = mirror
    with pytest.raises(TemporaryFailure, match="answers 404"):
        install(made, address, ca=certificate)
    with pytest.raises(TemporaryFailure, match="can't be read"):
        install(made, address)  # the system's certificates do not know it
    for ca in (certificate.with_name("away.pem"), Path(__file__)):
        with pytest.raises(TemporaryFailure, match=r"can't be read \(.*\): look at \[update\] source, ca") as away:
            install(made, address, ca=ca)
        assert code_of(away) == "mirror"
    with pytest.raises(TemporaryFailure, match="can't be read"):
        install(made, "https://mirror..example/", ca=certificate)
