"""Ask boxes for something, and wait for what one of them answers.

MQTT 3.1.1, since every broker of a fleet speaks that much. What is asked is signed (domain/command): that the broker
lets us publish moves nothing at a box, and an answer is believed as far as the broker keeps boxes to their branches.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.domain.telemetry import Result, read
from gateway.domain.topics import Leaf, Topic
from gateway.fleet.arrivals import Broker, BrokerAway

KEEPALIVE_SECONDS: Final = 20
ANSWERS_MOST: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """One message to a box."""

    topic: Topic
    payload: bytes
    """Empty: take back what the broker retains."""
    retained: bool


def ask(broker: Broker, topic: Topic, message: bytes, *, nonce: str, retained: bool, wait: float) -> Result | None:
    """Publish a signed message under the topic and return its answer; None if none came within `wait` seconds.

    Raises BrokerAway if the broker can't be reached, or sends us away.
    """
    answers: queue.Queue[bytes] = queue.Queue(ANSWERS_MOST)
    told = str(Topic(site=topic.site, box=topic.box, leaf=Leaf.RESULT))
    deadline = time.monotonic() + wait
    with _connected(broker, wait=wait, listen_to=told, answers=answers) as client:
        client.publish(str(topic), message, qos=1, retain=retained).wait_for_publish(max(wait, 1.0))
        return _answer(answers, nonce, deadline)


def say(broker: Broker, sayings: Sequence[Saying], *, wait: float) -> None:
    """Publish; returns when the broker has all of it. Raises BrokerAway if that is not within `wait` seconds; some may
    be said then."""
    deadline = time.monotonic() + wait
    with _connected(broker, wait=wait) as client:
        said = [client.publish(str(one.topic), one.payload, qos=1, retain=one.retained) for one in sayings]
        for one in said:
            one.wait_for_publish(max(deadline - time.monotonic(), 0.0))
            if not one.is_published():
                raise BrokerAway(
                    "the broker does not take what we say in time; look at its load, and at its access list"
                )


@contextmanager
def _connected(
    broker: Broker, *, wait: float, listen_to: str = "", answers: queue.Queue[bytes] | None = None
) -> Iterator[paho.Client]:
    """A client that the broker let in, subscribed where that is wanted. Raises BrokerAway."""
    ready: queue.Queue[int] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=broker.client_id, protocol=MQTTProtocolVersion.MQTTv311)
    if broker.username:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)

    def connected(_client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure or not listen_to:
            ready.put(reason.value)
        else:
            client.subscribe(listen_to, qos=1)

    client.on_connect = connected
    client.on_subscribe = lambda _c, _d, _m, reasons, _p: ready.put(reasons[0].value if reasons[0].is_failure else 0)
    if answers is not None:
        client.on_message = lambda _c, _d, said: None if answers.full() else answers.put_nowait(bytes(said.payload))
    try:
        client.connect(broker.hosts[0], broker.port, keepalive=KEEPALIVE_SECONDS)
        client.loop_start()
        refused = ready.get(timeout=max(wait, 1.0))
        if refused:
            raise BrokerAway(f"the broker does not let us in, or listen (reason {refused}); look at its access list")
        yield client
    except (OSError, queue.Empty, RuntimeError) as error:
        raise BrokerAway(
            f"the broker can't be reached ({type(error).__name__}); check [broker] of fleet.toml"
        ) from error
    finally:
        client.disconnect()
        client.loop_stop()
        client.on_connect = client.on_subscribe = client.on_message = None  # no circle keeps it, and its sockets


def _answer(answers: queue.Queue[bytes], nonce: str, deadline: float) -> Result | None:
    """The answer to this very question; others pass by."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            found = read(Result, answers.get(timeout=left))
        except queue.Empty:
            return None
        except ValueError:
            continue
        if found.nonce == nonce:
            return found
    return None
