"""Every named statement fits the schema, is used, and finds what it needs by an index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway.spool
from gateway.spool import Spool
from gateway.spool.queries import sql, statements

SOURCES = "\n".join(path.read_text() for path in Path(gateway.spool.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("name", sorted(statements()))
def test_each_statement_fits_the_schema_and_is_used(spool: Spool, name: str) -> None:
    text = sql(name)
    if name.startswith("worklist_where_"):
        assert name.removeprefix("worklist_where_") in SOURCES
        text = f"{sql('worklist_candidates')} AND {text}"
    elif name == "worklist_order":
        text = f"{sql('worklist_candidates')} {text}"
    else:
        assert f'sql("{name}")' in SOURCES
    values = dict.fromkeys(re.findall(r"(?<!:):(\w+)", text), 1)
    assert spool.db.read().execute(f"EXPLAIN {text}", values).fetchall()


@pytest.mark.parametrize(
    "name",
    [
        "instance_same_content",
        "instance_same_uid",
        "instance_by_uid",
        "instance_in_study",
        "instance_get",
        "delivery_of_instance",
        "delivery_due",
        "delivery_claim",
        "delivery_journal_all",
        "delivery_journal_sent",
        "delivery_sent",
        "delivery_confirmed",
        "instance_journal_delivered",
        "instance_deliver",
        "alarm_clear",
        "desk_waiting",
        "desk_overdue",
        "desk_known_accession",
        "served_last",
        "queries_latest",
        "progress_orders",
        "order_message_head",
        "relay_left",
        "order_messages_of",
    ],
)
def test_the_hot_statements_use_an_index(spool: Spool, name: str) -> None:
    values = dict.fromkeys(re.findall(r":(\w+)", sql(name)), 1)
    plan = [row["detail"] for row in spool.db.read().execute(f"EXPLAIN QUERY PLAN {sql(name)}", values)]
    tables = [step for step in plan if step.startswith("SCAN") and not re.search("CONSTANT|VIRTUAL TABLE", step)]
    assert not tables, plan
    assert not [step for step in plan if "instance_state" in step], f"reads as many rows as wait: {plan}"
