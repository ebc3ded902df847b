"""`gateway orders`: what came, what was set aside, and how a message would be read, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.hl7 import Message
from gateway.spool import orders
from tests.cli.site import Site
from tests.hl7_messages import message
from tests.spool.order_table import sender


def arrive(site: Site, *numbers: str) -> None:
    assert site.spool.db.broken == ""
    for number in numbers:
        parsed = Message.parse(message(number))
        site.write(lambda c, parsed=parsed: orders.apply(c, parsed, sender(), now=site.clock()))


def test_orders_are_listed_and_found_by_number(site: Site) -> None:
    arrive(site, "01", "10")
    listed = site.json("orders", "list")["orders"]
    assert [order["procedure"]["accession"]["value"] for order in listed] == ["A2603040200", "A2603040077"]
    (found,) = site.json("orders", "list", "70012345")["orders"]
    assert (found["status"], found["source"]) == ("SCHEDULED", "ris-hl7")
    assert "A2603040077" in site.run("orders", "list").stdout
    assert "No order has this number." in site.run("orders", "list", "nothing").stdout


def test_an_order_is_shown_whole(site: Site) -> None:
    arrive(site, "01")
    shown = site.run("orders", "show", "1").stdout
    for text in (
        "Okafor-Lindqvist^Marta^Irene",
        "70012345 (NORD_MRN)",
        "CTABDC (RADN)",
        "SPS88101-1",
        "station-defaulted",
    ):
        assert text in shown
    assert site.json("orders", "show", "1")["patient"]["PatientBirthDate"] == "19670921"
    assert site.run("orders", "show", "9").exit_code == 3


def test_a_conflict_is_shown_and_settled(site: Site) -> None:
    arrive(site, "01", "41")
    (conflict,) = site.json("orders", "conflicts")["conflicts"]
    assert (conflict["kind"], conflict["order"], conflict["patient_id"]) == ("accession", 1, "70055555")
    assert "gateway orders settle" in site.run("orders", "conflicts").stdout
    assert site.run("orders", "settle", str(conflict["id"])).exit_code == 0
    assert "No order was set aside." in site.run("orders", "conflicts").stdout
    assert site.run("orders", "settle", str(conflict["id"])).exit_code == 3


@pytest.mark.slow
def test_lint_shows_each_field_and_where_it_came_from(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "two.hl7"
    file.write_bytes(b"\x0b" + message("10") + b"\x1c\r\x0b" + message("23") + b"\x1c\r")
    told = site.json("orders", "lint", str(file))["messages"]
    taken = {(each["order"], each["attribute"]): (each["place"], each["value"]) for each in told[0]["taken"]}
    assert taken[1, "Modality"] == ("IPC-5", "MR")
    assert taken[1, "start"] == ("TQ1-7", "2026-03-04 21:15:00 +0900")  # the site is in Tokyo
    assert taken[1, "PatientWeight"] == ("", "")
    assert any("IPC_9" in finding["text"] for finding in told[0]["structure"])
    assert {each["attribute"] for each in told[1]["taken"] if each["value"]} >= {"PatientName", "identifiers"}


@pytest.mark.slow
def test_lint_says_what_would_not_be_applied(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "one.hl7"
    file.write_bytes(message("01", ("ORC|NW", "ORC|ZZ")))
    done = site.run("orders", "lint", str(file), "--mapping", "ihe-rad4-2.3.1")
    assert done.exit_code == 1
    assert "ORC-1" in done.stdout
    assert "Segment ZDS is not in the structure ORM_O01" in done.stdout


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\x0b\x1c\r"])
def test_a_file_without_a_message_is_not_well(site: Site, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "none.hl7"
    file.write_bytes(content)
    done = site.run("orders", "lint", str(file))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no message in it" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [(("missing.hl7",), "can't be read"), (("x", "--sender", "nobody"), "no [[sender]] of that name")],
)
def test_what_can_not_be_linted_is_told(site: Site, words: tuple[str, ...], told: str) -> None:
    done = site.run("orders", "lint", *words)
    assert done.exit_code == 2
    assert told in done.stderr
