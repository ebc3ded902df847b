"""kill -9 while files of orders are taken from a folder: each message has its effect once, each file its answer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.journeys.gateway_process import gateway
from tests.safety.order_feed import messages
from tests.safety.site import KILLS

pytestmark = [pytest.mark.safety, pytest.mark.timeout(600 + 20 * KILLS)]


def test_each_file_is_taken_exactly_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = messages(0)
    chance = random.Random(KILLS)
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    orders = f'folder = "{incoming}"\npoll = "100ms"'
    with gateway(tmp_path / "gw", roles=("worklist",), orders=orders, sender='application = "RADIS"') as box:

        def answered() -> int:
            return len(list(incoming.glob("*.hl7.ack")))

        share = len(told) // (KILLS + 1) + 1
        for kill in range(KILLS + 1):
            for number, raw in enumerate(told[kill * share : (kill + 1) * share], kill * share):
                part = incoming / f"{number:06d}.part"
                part.write_bytes(raw)
                part.rename(incoming / f"{number:06d}.hl7")
            if kill < KILLS:
                enough = kill * share + chance.randrange(1, share)
                box.until(lambda enough=enough: answered() >= enough, what=f"{enough} files are answered", limit=100)
                box.kill()
                box.start()
        box.until(lambda: answered() == len(told), what="every file is answered", limit=100)
        box.until(lambda: not list((incoming / "taken").iterdir()), what="every file is put away")
        kept = box.rows("SELECT control_id, count(*) AS n, min(code) AS code FROM message GROUP BY 1")
        alarms = box.alarms()
        rows = box.rows("SELECT key FROM worklist_row")
    with capsys.disabled():
        print(f"\nkill -9 over a folder of orders: kills {KILLS}, {len(told)} files")
    assert {(row["n"], row["code"]) for row in kept} == {(1, "AA")}
    assert {row["control_id"].encode() for row in kept} == {raw.split(b"|")[9] for raw in told}
    assert sorted(path.read_bytes() for path in (incoming / "done").iterdir()) == sorted(told)
    for path in incoming.glob("*.hl7.ack"):
        control = told[int(path.name[:6])].split(b"|")[9]
        assert path.read_bytes().split(b"\r")[1] == b"MSA|AA|" + control
    assert rows
    assert alarms == set()
