"""Every message of the table gives its rows, its effect and its acknowledgement, side by side."""

from __future__ import annotations

import pytest

from gateway.spool import Spool, audit
from tests.hl7_messages import message, messages
from tests.spool.order_table import Case, acknowledged, cases, kept, receive, sender, shown


@pytest.mark.parametrize("case", cases(), ids=lambda case: "-".join(name[:2] for name in (*case.after, case.message)))
def test_the_table(case: Case, spool: Spool) -> None:
    by = sender(refuse=case.refuse)
    for before in case.after:
        receive(spool, messages()[before], by)
    outcome = receive(spool, messages()[case.message], by)
    assert outcome.effect == case.effect
    assert acknowledged(messages()[case.message], outcome) == case.ack
    assert shown(kept(spool)) == case.rows
    alarms = audit.active_alarms(spool.db.read())
    assert tuple(f"{alarm.code} {alarm.subject}" for alarm in alarms) == case.alarms


def test_every_message_is_in_the_table() -> None:
    assert {case.message for case in cases()} == set(messages())


@pytest.mark.parametrize("mapping", ["ihe-rad4-2.3.1", "ihe-rad4-2.5.1"])
def test_the_profiles_mappings_read_their_messages_alike(mapping: str, spool: Spool) -> None:
    """What IHE prescribes is read the same by the mapping that knows nothing of the sender."""
    number = "01" if mapping.endswith("2.3.1") else "10"
    receive(spool, message(number), sender(mapping=mapping))
    rows = kept(spool)
    receive(spool, message(number), sender())
    assert [row.dataset for row in kept(spool)] == [row.dataset for row in rows]
