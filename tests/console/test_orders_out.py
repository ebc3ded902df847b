"""`/api/v1/orders/out`: the messages that a RIS has not taken, in figures, and what a person decides about them."""

from __future__ import annotations

import pytest

from gateway.roles.console.orders_out import OrderMessage, OrdersOut
from gateway.spool import audit
from tests.cli.site import Site
from tests.cli.test_orders_out import PATIENT, tell
from tests.console.box import Served
from tests.console.test_metrics import samples

OUT = "/api/v1/orders/out"


def test_what_waits_and_what_was_refused(site: Site, console: Served) -> None:
    tell(site)
    site.clock.pass_(minutes=10)
    told = OrdersOut.model_validate_json(console.text(OUT))
    (ris,) = told.receivers
    assert (ris.name, ris.configured, ris.waiting, ris.refused, ris.oldest_age_s) == ("main", True, 1, 1, 600)
    assert [(one.order, one.event, one.state, one.last_status, bool(one.reason)) for one in told.messages] == [
        (1, "start", "refused", "AE 204", True),
        (1, "complete", "queued", "", False),
    ]
    assert [one.id for one in OrdersOut.model_validate_json(console.text(f"{OUT}?refused=true")).messages] == [1]
    status = console.json("/api/v1/status")
    assert [status[f"orders_out_{name}"] for name in ("waiting", "refused", "oldest_age_s")] == [1, 1, 600]
    page = console.text("/")
    assert "Orders, told to" in page
    assert "1 message waiting, 1 refused" in page
    for text in (page, console.text(OUT), console.text("/metrics")):
        assert PATIENT not in text
        assert "F55201" not in text


def test_a_ris_for_which_nothing_waits_is_there_at_zero(console: Served) -> None:
    found = samples(console)
    assert found["gateway_orders_out_messages", "main", "waiting"] == 0
    assert found["gateway_orders_out_oldest_age_seconds", "main"] == 0


def test_the_figures_of_what_waits(site: Site, console: Served) -> None:
    tell(site)
    site.clock.pass_(minutes=10)
    found = samples(console)
    assert found["gateway_orders_out_messages", "main", "waiting"] == 1
    assert found["gateway_orders_out_messages", "main", "refused"] == 1
    assert found["gateway_orders_out_oldest_age_seconds", "main"] == 600


def states(console: Served) -> dict[int, str]:
    return {one["id"]: one["state"] for one in console.json(OUT)["messages"]}


def test_a_person_decides(site: Site, console: Served) -> None:
    tell(site)
    status, answer = console.post(f"{OUT}/1/retry")
    assert (status, OrderMessage(**answer).state) == (200, "queued")
    assert not audit.active_alarms(site.spool.db.read())
    assert console.post(f"{OUT}/2/dismiss")[0] == 200
    assert states(console) == {1: "queued", 2: "dismissed"}
    (last,) = audit.journal_of(site.spool.db.read(), kind=audit.Subject.ORDER_MESSAGE, subject="2")[-1:]
    assert (last.who, last.to_state) == ("console", "dismissed")


@pytest.mark.parametrize(
    ("path", "status"),
    [("9/retry", 404), ("2/retry", 409), ("0/retry", 422), ("x/dismiss", 422), (f"{2**63}/retry", 422)],
)
def test_what_can_not_be_decided(site: Site, console: Served, path: str, status: int) -> None:
    tell(site)
    got, problem = console.post(f"{OUT}/{path}")
    assert (got, problem["status"]) == (status, status)
    assert states(console) == {1: "refused", 2: "queued"}


def test_a_page_of_another_origin_decides_nothing(site: Site, console: Served) -> None:
    tell(site)
    assert console.post(f"{OUT}/1/dismiss", Origin="http://evil.example")[0] == 403
    assert states(console) == {1: "refused", 2: "queued"}
