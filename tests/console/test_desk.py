"""`/api/v1/desk`: what `gateway desk` does, for programs; and who may decide."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from gateway.roles.console import desk_models
from gateway.roles.console.guard import WRITABLE
from gateway.roles.console.models import Problem
from gateway.spool import audit, worklist
from gateway.spool.audit import Subject
from tests.cli.site import Site
from tests.console.box import Served
from tests.spool.desk import MAIN, real

DESK = "/api/v1/desk"
NOBODY: dict[str, Any] = {"stations": ["CT1"], "Modality": "CT"}
ADA = NOBODY | {"PatientName": "Test^Ada", "PatientID": "P1", "PatientBirthDate": "1980-01-01", "PatientSex": "F"}


def add(console: Served, asked: dict[str, Any]) -> dict[str, Any]:
    status, entry = console.post(DESK, asked)
    assert status == 201, entry
    desk_models.DeskEntry.model_validate(entry)
    assert isinstance(entry, dict)
    return entry


def refused(answer: tuple[int, Any], status: int) -> str:
    assert (answer[0], Problem.model_validate(answer[1]).status) == (status, status)
    return str(answer[1]["detail"])


def arrive(site: Site, *accessions: str) -> None:
    rows = [real(AccessionNumber=one) for one in accessions]
    site.write(partial(worklist.merge_answer, source=MAIN, rows=rows, now=site.clock()))


def test_an_entry_is_made_and_shown(site: Site, console: Served) -> None:
    entry = add(console, NOBODY | {"emergency": True})
    assert entry["PatientName"] == f"UNKNOWN^{entry['AccessionNumber']}"
    assert (entry["state"], entry["added_by"], entry["link"]) == ("open", "console", None)
    assert [row["source"] for row in site.json("worklist", "--rows")["rows"]] == ["desk"]
    told = console.json(DESK)
    assert told["entries"] == [entry]
    desk_models.DeskEntries.model_validate(told)
    for key in ("number", "AccessionNumber", "StudyInstanceUID"):
        assert console.json(f"{DESK}/{entry[key]}") == entry


def test_linked_by_a_person_and_taken_back(site: Site, console: Served) -> None:
    number = add(console, ADA)["number"]
    arrive(site, "A1", "A2")
    told = console.json(f"{DESK}/{number}/suggestions")
    desk_models.DeskSuggestions.model_validate(told)
    assert [one["AccessionNumber"] for one in told["suggestions"]] == ["A1", "A2"]
    assert "no such order" in refused(console.post(f"{DESK}/{number}/reconcile", {"AccessionNumber": "A3"}), 409)
    status, linked = console.post(f"{DESK}/{number}/reconcile", {"AccessionNumber": "A2"})
    assert (status, linked["state"], linked["link"]["PatientID"], linked["link"]["by"]) == (
        200,
        "linked",
        "P1",
        "console",
    )
    assert console.json(DESK)["entries"] == []
    assert console.json(f"{DESK}?every=true")["entries"] == [linked]
    assert "linked" in refused(console.post(f"{DESK}/{number}/cancel"), 409)
    assert console.post(f"{DESK}/{number}/unlink")[1]["state"] == "open"
    assert console.post(f"{DESK}/{number}/cancel")[1]["state"] == "cancelled"
    rows = audit.journal_of(site.spool.db.read(), kind=Subject.DESK, subject=str(number))
    assert [row.to_state for row in rows] == ["open", "linked", "open", "cancelled"]


def test_every_fault_of_a_request_at_once_and_no_value(site: Site, console: Served) -> None:
    asked = {"stations": ["CT9"], "Modality": "", "PatientName": "Secret, Ada"}
    detail = refused(console.post(DESK, asked), 422)
    assert [part.partition(":")[0] for part in detail.split("; ") if ":" in part] == [
        "station",
        "PatientName",
        "Modality",
    ]
    assert "Secret" not in detail
    assert "Secret" not in refused(console.post(DESK, NOBODY | {"PatientName": "Secret" * 99}), 422)
    assert "nickname" in refused(console.post(DESK, NOBODY | {"nickname": "x"}), 422)
    refused(console.post_raw(DESK, b"{", {"Content-Type": "application/json"}), 422)
    assert console.json(DESK)["entries"] == []


def test_an_unknown_entry(console: Served) -> None:
    for what in ("", "/suggestions"):
        status, headers, _ = console.ask(f"{DESK}/77{what}")
        assert (status, headers["content-type"]) == (404, "application/problem+json")
    for what in ("reconcile", "unlink", "cancel"):
        refused(console.post(f"{DESK}/77/{what}", {"AccessionNumber": "A"} if what == "reconcile" else None), 404)


def test_a_page_of_another_origin_decides_nothing(site: Site, console: Served) -> None:
    number = add(console, NOBODY)["number"]
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        refused(console.post(DESK, NOBODY, Origin=origin), 403)
        refused(console.post(f"{DESK}/{number}/cancel", Origin=origin), 403)
    assert [one["state"] for one in console.json(DESK)["entries"]] == ["open"]


def test_our_own_page_may(console: Served) -> None:
    assert console.post(DESK, NOBODY, Origin=f"http://127.0.0.1:{console.port}")[0] == 201


def test_only_json_of_a_declared_and_bounded_length(console: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"{}"

    refused(console.post_raw(DESK, b"{}", {"Content-Type": "text/plain"}), 415)
    refused(console.post_raw(DESK, b"{}", {}), 415)
    refused(console.post_raw(DESK, pieces(), {"Content-Type": "application/json"}), 411)
    refused(console.post_raw(DESK, b"", {"Content-Length": str(WRITABLE[DESK] + 1)}), 413)
    assert console.json(DESK)["entries"] == []


def test_nothing_else_takes_a_decision(console: Served) -> None:
    for path in (f"{DESK}x", "/api/v1/status", f"{DESK}/7/suggestions", f"{DESK}/7"):
        refused(console.post(path, NOBODY), 405)
    refused(console.post(f"{DESK}/../status", NOBODY), 404)
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, _ = console.ask(DESK, method=method)
        assert (status, headers["allow"]) == (405, "GET, HEAD, POST")
