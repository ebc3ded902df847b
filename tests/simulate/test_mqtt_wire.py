"""MQTT of a simulated box: in any pieces, and bounded. That brokers understand it is shown with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulate import mqtt_wire
from gateway.simulate.mqtt_wire import LONGEST, V5, V311, Kind, MqttError, Reader

VERSIONS = pytest.mark.parametrize("version", [V311, V5])


@VERSIONS
@given(st.data())
def test_packets_are_read_in_any_pieces(version: int, data: st.DataObject) -> None:
    said = [
        mqtt_wire.publish("dgw/1/s/b/ack", b"{}", version=version, packet_id=7, expiry=900),
        mqtt_wire.puback(3),
        mqtt_wire.publish("a/b", b"x" * 300, version=version),
        bytes([Kind.CONNACK << 4, 3, 0, 0, 0]),
    ]
    whole, reader, found = b"".join(said), Reader(version=version), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        found += reader.feed(whole[:size])
        whole = whole[size:]
    assert [packet.kind for packet in found] == [Kind.PUBLISH, Kind.PUBACK, Kind.PUBLISH, Kind.CONNACK]
    assert (found[0].topic, found[0].payload, found[0].qos, found[0].packet_id) == ("dgw/1/s/b/ack", b"{}", 1, 7)
    assert (found[2].payload, found[2].qos) == (b"x" * 300, 0)


@VERSIONS
def test_a_refused_subscription_shows_wherever_it_stands(version: int) -> None:
    body = bytes([0, 9, *([0] if version == V5 else []), 0, 0x80, 0])
    (packet,) = Reader(version=version).feed(bytes([Kind.SUBACK << 4, len(body)]) + body)
    assert (packet.packet_id, packet.code) == (9, 0x80)


def test_nothing_is_held_of_what_is_declared_too_long() -> None:
    with pytest.raises(MqttError, match=str(LONGEST)):
        list(Reader(version=V5).feed(b"\x30\xff\xff\xff\x7f"))
    with pytest.raises(MqttError, match="four bytes"):
        list(Reader(version=V5).feed(b"\x30\xff\xff\xff\xff\x01"))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_packets_or_in_an_error(data: bytes) -> None:
    reader = Reader(version=V5)
    try:
        for packet in reader.feed(data):
            assert len(packet.payload) <= LONGEST
    except MqttError:
        pass
