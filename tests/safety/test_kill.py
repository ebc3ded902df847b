"""kill -9 of the gateway at random moments, while four associations send and the PACS flaps: nothing is lost.

Each kill is followed by a start. At the end the PACS is well, and everything that was ever answered 0000 must be
there byte-exact, once in the books, with nothing in between states.
"""

import random
import time
from pathlib import Path

import pytest

from tests.powercut.ledger import promises
from tests.safety.box import unfinished
from tests.safety.site import KILLS, Site, Verdict, moody, percentile, see_through, sending, site, until, until_promised

ANSWERED = 20
"""Objects between two kills, at least; more on a machine that is fast."""
pytestmark = [pytest.mark.safety, pytest.mark.timeout(600 + 20 * KILLS)]


def kill_again_and_again(
    folder: Path, *, units: tuple[str, ...], victims: tuple[str, ...], seed: int
) -> tuple[Verdict, list[float]]:
    """KILLS times: let it work for a random moment, kill the victims, start them again. Then drain and judge."""
    chance = random.Random(seed)
    with site(folder, state=folder / "state", units=units, seed=seed) as place:
        place.box.start()
        with sending(place.box, place.ledgers, "--commit", "0.2", "--pause", "0.005", seed=seed) as sender:
            with moody(place.pacs, place.host, seed=seed):
                for _ in range(KILLS):
                    until_promised(place.stored, len(promises(place.stored)) + ANSWERED)
                    time.sleep(chance.uniform(0.2, 1.2))  # the random moment: not a synchronisation
                    for unit in victims:
                        assert place.box.running(unit), f"{unit} ended by itself"
                        place.box.kill(unit)
                    place.box.start(*victims)
            see_through(sender)
        place.drain()
        return place.judge(), place.box.times_to_echo


@pytest.mark.parametrize(
    ("units", "victims", "seed"),
    [
        pytest.param(("all",), ("all",), 11, id="whole"),
        pytest.param(("edge", "forward"), ("edge",), 12, id="edge"),
        pytest.param(("edge", "forward"), ("forward",), 13, id="forward"),
    ],
)
def test_nothing_acknowledged_is_lost_by_kills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], units: tuple[str, ...], victims: tuple[str, ...], seed: int
) -> None:
    verdict, times = kill_again_and_again(tmp_path, units=units, victims=victims, seed=seed)
    with capsys.disabled():
        echo = f"start to first C-ECHO p50 {percentile(times, 0.5):.2f} s, p95 {percentile(times, 0.95):.2f} s"
        print(f"\nkill -9 of {victims[0]}: kills {KILLS}, {verdict}, {echo} ({len(times)} starts)")
    assert verdict.acknowledged >= ANSWERED * KILLS
    assert verdict.kept_every_promise, verdict
    assert not verdict.put_aside


def _waits_for_reports_alone(place: Site) -> bool:
    """All is at the PACS and in the books as sent: what is still on its way when the gateway dies is sent again."""
    left = unfinished(place.box.state)
    asked = left.pop("transaction open", 0)
    return 0 < asked <= place.pacs.commitments and left.keys() == {"instance prepared", "delivery sent"}


def test_a_report_that_nobody_waited_for_is_asked_for_again(tmp_path: Path) -> None:
    """The association on which the PACS would have reported died with the process that asked."""
    with site(
        tmp_path,
        state=tmp_path / "state",
        units=("edge", "forward"),
        timeout="60s",  # what the PACS were too slow to answer would be sent again
        commitment_timeout="2d",
    ) as place:
        place.pacs.silent = True
        place.box.start()
        with sending(place.box, place.ledgers, "--count", "5", seed=14) as sender:
            assert sender.wait(100) == 0
        until(lambda: _waits_for_reports_alone(place))
        place.box.kill("forward")
        place.pacs.silent = False
        place.box.start("forward")
        place.drain()
        verdict = place.judge()
    assert verdict.kept_every_promise, verdict
    assert not verdict.repeated
