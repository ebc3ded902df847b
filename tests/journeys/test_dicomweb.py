"""STOW-RS and QIDO-RS: Orthanc over TLS with authentication, and a server that says what servers may say."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from gateway.domain.model import Confirm, DeliveryState
from gateway.net.dicomweb import Server
from gateway.roles.forward.stow import Stow
from gateway.roles.forward.target import Target
from tests.journeys.forwarding import forwarding, target
from tests.net.wire import Certificate
from tests.peers import needs, objects
from tests.peers.orthanc import orthanc
from tests.peers.processes import HOST
from tests.peers.stow_server import Said, StowServer, stow_server
from tests.peers.tls_front import tls_front

pytestmark = pytest.mark.slow

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CLASS = {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]}
BEARER = """function IncomingHttpRequestFilter(method, uri, ip, username, httpHeaders)
  return httpHeaders["authorization"] == "Bearer s3cret"
end
"""


def web(server: Server, **settings: Any) -> Target:
    return target(0, way=Stow(server=server, accepts=frozenset()), **settings)


def secret(path: Path, text: str) -> Path:
    path.write_text(text + "\n")
    path.chmod(0o600)
    return path


def of(server: StowServer) -> Server:
    return Server(url=server.url, connect_timeout=30, timeout=60)


def item(uid: str, **more: int) -> dict[str, object]:
    tags = {"failure": "00081197", "warning": "00081196"}
    named = {tags[key]: {"vr": "US", "Value": [value]} for key, value in more.items()}
    return {"00081150": CLASS, "00081155": {"vr": "UI", "Value": [uid]}, **named}


def failed(uid: str, reason: int) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [item(uid, failure=reason)]}}


def stored(uid: str, **more: int) -> dict[str, object]:
    return {"00081199": {"vr": "SQ", "Value": [item(uid, **more)]}}


@contextmanager
def encrypted_orthanc(
    folder: Path, certificate: Certificate, *, of_clients: bool = False, **config: object
) -> Iterator[tuple[str, ssl.SSLContext]]:
    """Its base and whom to trust; `of_clients`: it asks for a certificate."""
    settings = {"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, **config}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.path, certificate.key)
    if of_clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.path)
    with orthanc(folder / "orthanc", config=settings) as pacs, tls_front(pacs.http_port, context) as port:
        yield f"https://localhost:{port}", ssl.create_default_context(cafile=str(certificate.path))


@needs.orthanc
@pytest.mark.parametrize("authentication", ["basic", "bearer", "certificate"])
def test_orthanc_holds_what_our_books_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Certificate, authentication: str
) -> None:
    files = [objects.write(tmp_path / "in", make(4)) for make in objects.KINDS.values()]
    config: dict[str, object] = {"AuthenticationEnabled": False}
    identity: dict[str, Any] = {}
    auth: Any = None
    if authentication == "basic":
        config = {"AuthenticationEnabled": True, "RegisteredUsers": {"gateway": "s3cret"}}
        identity = {"user": "gateway", "password": secret(tmp_path / "password", "s3cret")}
        auth = ("gateway", "s3cret")
    elif authentication == "bearer":
        (tmp_path / "filter.lua").write_text(BEARER)
        config |= {"LuaScripts": [str(tmp_path / "filter.lua")]}
        identity = {"token": secret(tmp_path / "token", "s3cret")}
    by_certificate = authentication == "certificate"
    with encrypted_orthanc(tmp_path, certificate, of_clients=by_certificate, **config) as (base, trust):
        if by_certificate:
            trust.load_cert_chain(certificate.path, certificate.key)
        server = Server(url=f"{base}/dicom-web", connect_timeout=30, timeout=60, tls=lambda: trust, **identity)
        headers = {"Authorization": "Bearer s3cret"} if authentication == "bearer" else {}
        client = httpx.Client(base_url=base, verify=trust, auth=auth, headers=headers, trust_env=False)
        with client, forwarding(tmp_path, [web(server, confirm=Confirm.QUERY)], monkeypatch=monkeypatch) as box:
            uids = [box.put(path) for path in files]
            box.until_all(uids)
            assert not box.alarms()
            held = {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in client.get("/instances?expand").json()}
            assert set(held) == set(uids)
            for path, uid in zip(files, uids, strict=True):
                got = client.get(f"/instances/{held[uid]}/file").content
                assert list(dcmread(DicomBytesIO(got))) == list(dcmread(path))


@needs.orthanc
def test_a_wrong_token_is_the_destination_s_matter_and_heals_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    (tmp_path / "filter.lua").write_text(BEARER)
    config = {"AuthenticationEnabled": False, "LuaScripts": [str(tmp_path / "filter.lua")]}
    token = secret(tmp_path / "token", "stale")
    with encrypted_orthanc(tmp_path, certificate, **config) as (base, trust):
        server = Server(url=f"{base}/dicom-web", connect_timeout=30, timeout=60, tls=lambda: trust, token=token)
        with forwarding(tmp_path, [web(server)], monkeypatch=monkeypatch) as box:
            uid = box.put(objects.write(tmp_path, objects.ct()))
            box.until(lambda: "http-40" in box.statuses(uid), what="it was turned away")
            secret(token, "s3cret")
            box.clock.run_at(60)
            box.until_all([uid])


def test_each_answer_is_of_its_class_and_one_bad_object_blocks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [objects.write(tmp_path, objects.ct(seed)) for seed in range(9)]
    plain, named, warned, known, accepted, refused, syntax, twice, garbled = (path.stem for path in files)
    script = {
        plain: Said(200),
        named: Said(200, stored(named)),
        warned: Said(202, stored(warned, warning=0xB000)),
        known: Said(409, failed(known, 0x0111)),
        accepted: Said(202),
        refused: Said(409, failed(refused, 0x0122)),
        syntax: Said(409, [failed(syntax, 0xC122)]),
        twice: Said(409),
        garbled: Said(200, raw=b"<xml/>"),
    }
    with stow_server(script.__getitem__) as server:
        server.held |= {known, accepted, twice, garbled}
        with forwarding(tmp_path, [web(of(server))], monkeypatch=monkeypatch) as box:
            for path in files:
                box.put(path)
            box.until_all([plain, named, warned, known, accepted, twice, garbled])
            box.until_all([refused, syntax], DeliveryState.REFUSED)
            assert [box.statuses(uid) for uid in (plain, warned, known, refused, syntax)] == [
                "0000",
                "B000",
                "0111",
                "0122",
                "C122",
            ]
            assert box.alarms() == {"delivery-refused"}


def test_what_no_answer_calls_stored_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The login page of a proxy comes with 200; and a server may name what failed without saying why. With confirm =
    "status" ours could be purged for it."""
    files = [objects.write(tmp_path, objects.ct(seed)) for seed in range(5)]
    page, other, nameless, none, odd = (path.stem for path in files)
    no_reason = {"00081198": {"vr": "SQ", "Value": [item(nameless)]}}
    first = {
        page: Said(200, raw=b"<html>Please log in</html>"),
        other: Said(200, stored("2.25.4711")),
        nameless: Said(200, no_reason),
        none: Said(200, failed(none, 0)),
        odd: Said(200, failed(odd, 0xB000)),
    }
    seen: list[str] = []

    def answer(uid: str) -> Said:
        seen.append(uid)
        return first[uid] if seen.count(uid) == 1 else Said(200)

    with stow_server(answer) as server, forwarding(tmp_path, [web(of(server))], monkeypatch=monkeypatch) as box:
        uids = [box.put(path) for path in files]
        box.clock.run_at(60)
        box.until_all(uids)
        assert {uid: seen.count(uid) for uid in uids} == dict.fromkeys(uids, 2)


def test_what_was_not_stored_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [objects.write(tmp_path, objects.ct(seed)) for seed in range(4)]
    busy, unknown, cut, good = (path.stem for path in files)
    seen: dict[str, int] = {}

    def answer(uid: str) -> Said:
        seen[uid] = seen.get(uid, 0) + 1
        first = {busy: Said(503), unknown: Said(409), cut: Said(0, hang_up=True)}
        return first.get(uid, Said(200)) if seen[uid] == 1 else Said(200)

    with stow_server(answer) as server, forwarding(tmp_path, [web(of(server))], monkeypatch=monkeypatch) as box:
        uids = [box.put(path) for path in files]
        box.clock.run_at(60)
        box.until_all(uids)
        assert {uid: seen[uid] > 1 for uid in uids} == {busy: True, unknown: True, cut: True, good: False}
        assert unknown in server.queries


@pytest.mark.parametrize("lists", [True, False])
def test_proof_is_by_query_and_what_is_gone_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: bool
) -> None:
    with stow_server(lambda _: Said(200)) as server:
        server.lists = lists
        with forwarding(tmp_path, [web(of(server), confirm=Confirm.QUERY)], monkeypatch=monkeypatch) as box:
            uids = [box.put(objects.write(tmp_path, objects.ct(seed, study="s"))) for seed in range(3)]
            box.until_all(uids, DeliveryState.SENT)
            server.held |= set(uids[:2])
            box.until_all(uids[:2])
            assert box.states()[uids[2]] == [DeliveryState.SENT]
            box.clock.advance(timedelta(minutes=11))
            box.clock.run_at(60)
            box.until(lambda: len(server.received) > 3, what="the third is sent again")
            server.held.add(uids[2])
            box.until_all(uids)


def test_what_leaves_tells_nothing_of_its_receipt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = objects.write(tmp_path, objects.ct())
    with stow_server(lambda _: Said(200)) as server:
        with forwarding(tmp_path, [web(of(server))], monkeypatch=monkeypatch) as box:
            box.until_all([box.put(path)])
        (body,), (headers,) = server.received, server.headers
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    head, _, rest = body.partition(b"\r\n\r\n")
    assert b"Content-Type: application/dicom" in head
    sent = dcmread(DicomBytesIO(rest.rpartition(b"\r\n--")[0]))
    assert list(sent) == list(dcmread(path))
    assert HOST.encode() not in rest
    assert json.dumps("CT1").strip('"').encode() not in rest[:400]
