"""One round of the synthetic patient through the running box, by the doors as the box itself reaches them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime
from functools import partial

from gateway.app.peers import HERE
from gateway.app.synthetic import books_of
from gateway.config import Config, Service
from gateway.net.mllp_client import Place
from gateway.net.tls import own_context
from gateway.roles.health.round import Entrance, Passed, once


def entrance(config: Config, *, patience: float) -> Entrance:
    """The doors as they are reached from here. A port that asks its callers for a certificate can't be tried."""
    listen = next((one for one in config.listen if one.client_ca is None), None)
    offered = frozenset(listen.services if listen else ())
    worklist = next((ae for ae in listen.ae if "MWL" in ae), listen.ae[0]) if listen else ""
    return Entrance(
        host=HERE.get(listen.address, listen.address) if listen else "",
        port=listen.port if listen else 0,
        called_ae=listen.ae[0] if listen else worklist,
        tls=partial(own_context, certificate=listen.certificate, key=listen.key) if listen and listen.tls else None,
        orders=_order_door(config, patience),
        worklist=Service.WORKLIST in offered,
        storage=Service.STORAGE in offered,
    )


def selftest(config: Config, *, patience: float) -> Generator[Passed, None, None]:
    """One round through the running box, with `patience` seconds for each hop.

    Raises GatewayError if there are no books to look at, or another round does not end.
    """
    return once(
        entrance(config, patience=patience),
        books_of(config),
        now=lambda: datetime.now(config.site.timezone),
        patience=patience,
    )


def came_through(passed: Sequence[Passed]) -> bool:
    """Whether an image was confirmed, and nothing that was tried failed."""
    return passed[-1].holds is True and all(one.holds is not False for one in passed)


def _order_door(config: Config, patience: float) -> Place | None:
    mllp = config.mllp
    if not (mllp.port and config.sender) or mllp.client_ca is not None:
        return None
    return Place(
        host=HERE.get(mllp.address, mllp.address),
        port=mllp.port,
        connect_timeout=patience,
        timeout=patience,
        tls=partial(own_context, certificate=mllp.certificate, key=mllp.key) if mllp.tls else None,
    )
