"""A simulated peer that is switched off: nobody stays connected to it, whoever came in at that moment."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from gateway.simulate import acceptor
from gateway.simulate.acceptor import Chooser, Port, Session


class Mute(Session):
    """Serves nothing."""

    ae = "PACS"

    def chooser(self, abstract_syntax: str) -> Chooser | None:
        return None


async def ended_for_who_came(turns: int) -> bool:
    """Whether the caller is told, if the port closes `turns` of the loop after the call."""
    port = Port(Mute, "127.0.0.1", 0)
    await port.open()
    with socket.create_connection(("127.0.0.1", port.number)) as caller:
        for _ in range(turns):
            await asyncio.sleep(0)
        await port.close()
        return await asyncio.to_thread(_ends, caller)


def _ends(caller: socket.socket) -> bool:
    """Whether the connection ends, after an A-ABORT or without a word."""
    caller.settimeout(60)
    try:
        while caller.recv(100):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("turns", range(6))
def test_nobody_stays_connected_to_a_port_that_closed(turns: int) -> None:
    assert uvloop.run(ended_for_who_came(turns))  # as the gateway; asyncio itself forgets a socket in that moment


def test_nobody_is_given_the_port_that_another_was_given_and_does_not_use_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "PORTS", acceptor.PORTS[-250:])
    given = [acceptor.free_port() for _ in range(100)]
    assert len(set(given)) == len(given)
