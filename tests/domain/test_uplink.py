"""Whatever is lost on the way, every event is at central in the end, and central is never flooded."""

from __future__ import annotations

from random import Random

import pytest

from gateway.domain.uplink import FIRST_WAIT, LONGEST_WAIT, WINDOW, Sending, fitting

BATCH = 100


def test_history_goes_in_batches_and_news_live() -> None:
    sending = Sending.begin(acked=10, last=200, now=0)
    assert sending.behind == (10, 200)
    sending = sending.went_live(201, now=1).went_back(110, now=1)
    assert sending.behind == (110, 200)
    sending = sending.went_back(200, now=2)
    assert sending.behind is None
    assert sending.acknowledged(201, now=3).repeated(now=10**6, random=0) == sending.acknowledged(201, now=3)


def test_what_nobody_acknowledges_is_sent_again_ever_more_slowly() -> None:
    sending = Sending.begin(acked=0, last=0, now=0).went_live(3, now=1000)
    assert sending.repeated(now=1000 + FIRST_WAIT * 0.74, random=0) == sending
    waits, now = list[float](), 1000.0
    for _ in range(8):
        start = now
        while (again := sending.repeated(now=now, random=0.5)) == sending:
            now += 1
        waits.append(now - start)
        assert again.behind == (0, 3)
        sending = again.went_back(3, now=now)
    assert waits[0] == FIRST_WAIT
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT
    assert sending.acknowledged(1, now=now).repeats == 0


def test_an_old_wait_is_not_held_against_new_events() -> None:
    sending = Sending.begin(acked=5, last=5, now=0).went_live(6, now=5000)
    assert sending.repeated(now=5001, random=0) == sending


def test_central_is_not_flooded() -> None:
    sending = Sending.begin(acked=0, last=10**6, now=0)
    while (span := sending.behind) is not None:
        sending = sending.went_back(span[0] + BATCH, now=0)
    assert sending.back == WINDOW
    assert sending.acknowledged(BATCH, now=1).behind == (WINDOW, 10**6)


def test_batches_are_bounded() -> None:
    assert fitting([400] * 500, most=100, most_bytes=64_000) == 100
    assert fitting([1000] * 500, most=100, most_bytes=64_000) == 63
    assert fitting([99_999], most=100, most_bytes=64_000) == 1
    assert fitting([], most=100, most_bytes=64_000) == 0


@pytest.mark.parametrize("seed", range(300))
def test_nothing_is_lost_whatever_the_way_does(seed: int) -> None:
    """Messages and acknowledgements get lost, connections break, central forgets to answer: then the way works."""
    random = Random(seed)
    last, now, central = random.randrange(300), 0.0, set[int]()
    acked = 0
    sending = Sending.begin(acked=acked, last=last, now=now)

    def step(*, lossy: bool) -> None:
        nonlocal sending, last, acked, now
        now += random.choice([0.0, 1.0, 40.0]) if lossy else 60.0
        kept = not lossy or random.random() < 0.5
        if lossy and random.random() < 0.1:
            sending = Sending.begin(acked=acked, last=last, now=now)
        if lossy and random.random() < 0.5:
            last += 1
            central.update([last] if kept else [])
            sending = sending.went_live(last, now=now)
        if (span := sending.behind) is not None:
            upto = min(span[1], span[0] + BATCH)
            central.update(range(span[0] + 1, upto + 1) if kept else [])
            sending = sending.went_back(upto, now=now)
        if not lossy or random.random() < 0.5:
            whole = acked
            while whole + 1 in central:
                whole += 1
            acked = max(acked, whole)
            sending = sending.acknowledged(acked, now=now)
        sending = sending.repeated(now=now, random=random.random())

    for _ in range(random.randrange(60)):
        step(lossy=True)
    for _ in range(60):
        step(lossy=False)
    assert central == set(range(1, last + 1))
    assert acked == last
