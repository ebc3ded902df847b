"""`gateway messages`: what came in, and what waits for a person, as a person types it."""

from __future__ import annotations

from gateway.domain.hl7_ack import Code, Fault, Outcome
from gateway.spool import messages
from gateway.spool.messages import Received
from tests.cli.site import Site
from tests.roles.orders_desk import order

FAULT = Fault(code="103", text="the modality is in no table", segment="OBR", field=24)


def keep(site: Site, control: str, *faults: Fault) -> None:
    received = Received(
        sender="ris-hl7", address="10.1.1.30", kind="ORM^O01", control_id=control, raw=order(control, name="M\xfcller")
    )
    outcome = Outcome(code=Code.AA, faults=faults, effect="" if faults else "one order")
    answer = b"\x0bMSH|^~\\&|x\rMSA|AA\r\x1c\r"
    site.write(
        lambda c: messages.receive(c, received, apply=lambda: outcome, answer=lambda _: answer, now=site.clock())
    )


def test_messages_are_listed_without_what_is_in_them(site: Site) -> None:
    keep(site, "M1")
    keep(site, "M2", FAULT)
    told = site.json("messages", "list")["messages"]
    assert [(one["control_id"], one["answer_code"], one["seen_at"] is None) for one in told] == [
        ("M2", "AA", True),
        ("M1", "AA", False),
    ]
    assert told[0]["faults"][0]["text"] == FAULT.text
    text = site.run("messages", "list").stdout
    assert "the modality is in no table" in text
    assert "ller" not in text
    assert [one["id"] for one in site.json("messages", "list", "--waiting", "--sender", "ris-hl7")["messages"]] == [2]
    assert "No message." in site.run("messages", "list", "--sender", "other").stdout


def test_a_message_is_shown_as_it_came(site: Site) -> None:
    keep(site, "M2", FAULT)
    text = site.run("messages", "show", "1").stdout
    assert "PID|1||4711||M\u00fcller^Jo" in text
    assert "MSA|AA" in text
    assert "103 at OBR-24: the modality is in no table" in text
    assert site.json("messages", "show", "1")["received"][3] == "ZDS|1.2"
    missing = site.run("messages", "show", "9")
    assert (missing.exit_code, "look at `gateway messages list`" in missing.stderr) == (3, True)


def test_what_was_seen_waits_no_longer(site: Site) -> None:
    keep(site, "M2", FAULT)
    assert "1 of 2 waited" in site.run("messages", "seen", "1", "7").stdout
    assert "No message waits." in site.run("messages", "list", "--waiting").stdout
    again = site.run("messages", "seen", "1")
    assert (again.exit_code, "none of them waits" in again.stderr) == (1, True)
