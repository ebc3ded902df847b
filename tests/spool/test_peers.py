"""Scanners that were added, and strangers who called."""

from __future__ import annotations

import pytest

from gateway.domain.model import AETitle
from gateway.spool import Connection, Spool, audit, peers
from tests.spool.objects import START, Clock

GATEWAY = AETitle("GATEWAY")


def call(c: Connection, ae: str, clock: Clock, reason: str = "unknown caller") -> None:
    peers.record_caller(c, calling_ae=AETitle(ae), called_ae=GATEWAY, address="10.1.1.9", reason=reason, now=clock())


def test_a_stranger_is_counted_and_leaves_the_list_when_added(spool: Spool, clock: Clock) -> None:
    spool.db.write(lambda c: call(c, "MR9", clock)).result()
    clock.pass_(minutes=1)
    spool.db.write(lambda c: call(c, "MR9", clock, "wrong called AE")).result()
    (caller,) = peers.callers(spool.db.read())
    assert (caller.count, caller.first_seen, caller.last_seen) == (2, START, clock())
    assert (caller.calling_ae, caller.address, caller.reason) == ("MR9", "10.1.1.9", "wrong called AE")
    added = spool.db.write(
        lambda c: peers.add_scanner(
            c, ae=AETitle("MR9"), addresses=["10.1.1.9"], profile="generic", now=clock(), by="person"
        )
    ).result()
    assert peers.callers(spool.db.read()) == ()
    assert peers.scanners(spool.db.read()) == (added,)


def test_a_flood_of_names_does_not_fill_the_disk(spool: Spool, clock: Clock) -> None:
    def flood(c: Connection) -> None:
        for number in range(peers.CALLERS_KEPT + 50):
            clock.pass_(seconds=1)
            call(c, f"X{number}", clock)

    spool.db.write(flood).result()
    kept = peers.callers(spool.db.read())
    assert len(kept) == peers.CALLERS_KEPT
    assert (kept[0].calling_ae, kept[-1].calling_ae) == ("X549", "X50")


def test_a_scanner_is_changed_and_removed(spool: Spool, clock: Clock) -> None:
    ae = AETitle("CT1")
    for addresses in (["10.0.0.1"], ["10.0.0.2", "10.0.0.3"]):
        spool.db.write(
            lambda c, a=tuple(addresses): peers.add_scanner(  # type: ignore[misc]
                c, ae=ae, addresses=a, profile="generic", now=clock(), by="person"
            )
        ).result()
    (scanner,) = peers.scanners(spool.db.read())
    assert scanner.addresses == ("10.0.0.2", "10.0.0.3")
    assert spool.db.write(lambda c: peers.remove_scanner(c, ae, now=clock(), by="person")).result()
    assert not spool.db.write(lambda c: peers.remove_scanner(c, ae, now=clock(), by="person")).result()
    journal = audit.journal_of(spool.db.read(), kind=audit.Subject.SCANNER, subject="CT1")
    assert [row.to_state for row in journal] == ["added", "added", "removed"]


@pytest.mark.parametrize("ae", ["", "SEVENTEEN_LETTERS", "A\\B", " CT1", "CT\u00e9", "CT\n"])
def test_what_is_no_ae_title_is_refused(spool: Spool, clock: Clock, ae: str) -> None:
    future = spool.db.write(
        lambda c: peers.add_scanner(c, ae=AETitle(ae), addresses=[], profile="generic", now=clock(), by="person")
    )
    with pytest.raises(ValueError, match="no AE title"):
        future.result()
