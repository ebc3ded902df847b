"""Central wishes for a configuration, over mosquitto: the box ends in order, begins by it, and says that it holds. And
for a release, which this box has no slots for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.domain.command import Command, CommandName, signed
from tests.domain.test_command import ANN, ARGUMENTS, BOB
from tests.journeys.gateway_process import gateway
from tests.peers.central import Central, broker
from tests.peers.processes import HOST, free_port

pytestmark = pytest.mark.slow

BOX = "test"


def wish(version: int, toml: str, nonce: str) -> bytes:
    arguments: dict[str, str | int] = {"version": version, "ring": "lab", "toml": toml}
    return asked(CommandName.APPLY_CONFIG, arguments, nonce, valid=timedelta(days=20))


def asked(name: CommandName, arguments: dict[str, str | int], nonce: str, *, valid: timedelta) -> bytes:
    now = datetime.now(UTC).replace(microsecond=0)
    command = Command(
        name=name, arguments=arguments, site="test", box=BOX, nonce=nonce, not_before=now, expires=now + valid
    )
    return signed(command, [ANN, BOB])


def test_a_wish_goes_from_central_into_the_running_box_and_back(tmp_path: Path) -> None:
    to, console = broker(tmp_path / "broker"), free_port()
    folder, own, central = tmp_path / "box", to.authority.identity(BOX), Central(to)
    (folder / "keys").mkdir(parents=True)
    for name, key in (("ann", ANN), ("bob", BOB)):
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / "keys" / f"{name}.pem").write_bytes(public)

    def reported() -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload in central.raw if topic.endswith("/reported")]

    def results() -> list[str]:
        return [json.loads(payload)["code"] for topic, payload in central.raw if topic.endswith("/cmd/res")]

    def phases() -> list[str]:
        return [one["phase"] for one in reported()]

    with to.running(), central.listening() as client, gateway(folder, started=False) as box:
        file = folder / "gateway.toml"
        local = file.read_text() + (
            f'[mqtt]\nhost = "{HOST}"\nport = {to.port}\nca = "{to.authority.ca}"\n'
            f'certificate = "{own.certificate}"\nkey = "{own.key}"\n'
        )
        file.write_text(local)
        topic = f"dgw/1/test/{BOX}/desired"
        client.publish(
            topic, wish(3, local.replace("[mqtt]", "[mqtt]\nport = true"), "0123456789abcdef"), 1, retain=True
        )
        box.start()
        box.until(lambda: "rejected" in phases(), what="it is told that the wish does not hold")
        assert reported()[-1]["faults"] == ["unknown"], "a key twice is no TOML"
        wished = local.replace("[console]\nport = 0", f"[console]\nport = {console}")
        client.publish(topic, wish(4, wished, "0123456789abcdeg"), 1, retain=True)
        box.until(lambda: not box.running, what="the box ends")
        assert box.wait() == 0
        box.start()
        box.until(lambda: "confirmed" in phases(), what="the wish is confirmed")
        box.until(lambda: f"port={console}" in box.log(), what="the console listens where it was wished")
        assert [one["version"] for one in reported()][-1] == 4
        assert file.read_text() == local
        update, minutes, before = ARGUMENTS[CommandName.UPDATE], timedelta(minutes=5), len(results())
        for attempt in range(1, 100):
            put = asked(CommandName.UPDATE, update, f"0123456789abcd{attempt:02}", valid=minutes)
            client.publish(f"dgw/1/test/{BOX}/cmd/req", put, 1)
            box.until(lambda many=before + attempt: len(results()) == many, what="it is answered")  # type: ignore[misc]
            if results()[-1] != "association-open":  # the echo by which we know that it has started
                break
        assert results()[-1] == "no-slots"
