"""Ask one box for something, and wait for what it answers.

MQTT 3.1.1, since every broker of a fleet speaks that much. What is asked is signed (domain/command): that the broker
lets us publish moves nothing at a box, and an answer is believed as far as the broker keeps boxes to their branches.
"""

from __future__ import annotations

import queue
import time
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from gateway.domain.telemetry import Result, read
from gateway.domain.topics import Leaf, Topic
from gateway.fleet.arrivals import Broker, BrokerAway

KEEPALIVE_SECONDS: Final = 20
ANSWERS_MOST: Final = 100


def ask(broker: Broker, topic: Topic, message: bytes, *, nonce: str, retained: bool, wait: float) -> Result | None:
    """Publish a signed message under the topic and return its answer; None if none came within `wait` seconds.

    Raises BrokerAway if the broker can't be reached, or sends us away.
    """
    answers: queue.Queue[bytes] = queue.Queue(ANSWERS_MOST)
    ready: queue.Queue[int] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=broker.client_id, protocol=MQTTProtocolVersion.MQTTv311)
    if broker.username:
        client.username_pw_set(broker.username, broker.password)
    if broker.tls is not None:
        client.tls_set_context(broker.tls)
    told = str(Topic(site=topic.site, box=topic.box, leaf=Leaf.RESULT))

    def connected(_client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            ready.put(reason.value)
        else:
            client.subscribe(told, qos=1)

    client.on_connect = connected
    client.on_subscribe = lambda _c, _d, _m, reasons, _p: ready.put(reasons[0].value if reasons[0].is_failure else 0)
    client.on_message = lambda _c, _d, said: None if answers.full() else answers.put_nowait(bytes(said.payload))
    deadline = time.monotonic() + wait
    try:
        client.connect(broker.hosts[0], broker.port, keepalive=KEEPALIVE_SECONDS)
        client.loop_start()
        refused = ready.get(timeout=max(wait, 1.0))
        if refused:
            raise BrokerAway(
                f"the broker does not let us listen to that box (reason {refused}); look at its access list"
            )
        client.publish(str(topic), message, qos=1, retain=retained).wait_for_publish(max(wait, 1.0))
        return _answer(answers, nonce, deadline)
    except (OSError, queue.Empty, RuntimeError) as error:
        raise BrokerAway(
            f"the broker can't be reached ({type(error).__name__}); check [broker] of fleet.toml"
        ) from error
    finally:
        client.disconnect()
        client.loop_stop()


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
