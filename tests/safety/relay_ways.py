"""The ways of both kinds of relay to a peer on loopback, for this process and for one that dies."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from gateway.domain.order_notice import Format, Header
from gateway.domain.retry import Circuit
from gateway.net.dicom_client import Peer
from gateway.net.mllp_client import Place
from gateway.roles.forward import MppsTarget, Receiver
from gateway.roles.forward.mpps import MppsWay
from gateway.roles.forward.orders_out import OrdersWay
from gateway.roles.forward.target import Breaker
from gateway.spool import Spool
from tests.peers.processes import HOST

RIS = "ris"
_SHORT = timedelta(milliseconds=100)


def mpps_way(spool: Spool, port: int) -> MppsWay:
    peer = Peer(host=HOST, port=port, called_ae="RIS", calling_ae="GATEWAY", connect_timeout=60, timeout=60)
    target = MppsTarget(name=RIS, peer=lambda _ae: peer, as_scanner=False, retry_base=_SHORT, retry_cap=_SHORT)
    circuit = Circuit(threshold=2, base=_SHORT, cap=_SHORT)
    breaker = Breaker(circuit, now=lambda: datetime.now(UTC), random=random.random)
    return MppsWay(spool, target, breaker=breaker, random=random.random)


def orders_way(port: int) -> OrdersWay:
    header = Header(sending_application="", sending_facility="", receiving_application="", receiving_facility="")
    place = Place(host=HOST, port=port, connect_timeout=60, timeout=60)
    receiver = Receiver(name=RIS, place=place, format=Format.ORM, report=False, senders=frozenset(), header=header)
    return OrdersWay(receiver, random=random.random)
