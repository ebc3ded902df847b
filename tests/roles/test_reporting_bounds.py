"""The times that promise when a box is known to be lost, held against each other: no clock of a test is asked."""

from __future__ import annotations

from datetime import timedelta

from gateway.config import Mqtt
from gateway.config.mqtt import Mqtt as Section
from gateway.domain.presence import SILENCE

OFFLINE_KNOWN = timedelta(seconds=45)
WRONG_AT_MOST = timedelta(seconds=60)
BROKERS_ROUND = timedelta(seconds=5)
"""How much later than after 1.5 times the keep-alive mosquitto 2.0 looks (measured: 34.8 s at 20 s, 10.9 s at 5 s)."""
SPREAD = 1.2
"""Health comes at the latest after so many of its intervals."""


def test_a_box_that_is_gone_is_known_to_be() -> None:
    assert Mqtt().keepalive * 1.5 + BROKERS_ROUND <= OFFLINE_KNOWN
    (longest,) = (one.le for one in Section.model_fields["keepalive"].metadata if hasattr(one, "le"))
    assert longest * 1.5 + BROKERS_ROUND <= OFFLINE_KNOWN, "whatever a site writes"
    assert SILENCE <= OFFLINE_KNOWN, "where no will is published"


def test_a_box_that_is_there_is_not_thought_lost() -> None:
    (longest,) = (one.le for one in Section.model_fields["health"].metadata if hasattr(one, "le"))
    assert longest * SPREAD < SILENCE


def test_a_box_is_there_again_in_time() -> None:
    mqtt = Mqtt()
    assert mqtt.retry.cap <= WRONG_AT_MOST - mqtt.timeout, "the longest wait, and the broker's answer"
