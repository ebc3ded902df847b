"""The API answers in the types that its document promises, and the document kept in docs/ is this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import gateway
from gateway.domain.custody import StudyCustody
from gateway.domain.model import SourceName
from gateway.roles.console import desk_models, models, order_models, task_models
from gateway.roles.console.mpps import Mpps
from gateway.roles.console.orders_out import OrderMessage, OrdersOut
from gateway.spool import query_log, worklist
from gateway.spool.query_log import QueryOutcome
from tests.cli import test_mpps as steps
from tests.cli.site import Site
from tests.console.box import NAME, PATIENT, STRANGER, STUDY, Served, bad_night, images, scheduled, stranger
from tests.spool.test_query_log import QUERY

DOCUMENT = Path(gateway.__file__).parents[1] / "docs" / "openapi.json"
OPERATIONS: dict[str, type[Any]] = {
    "/api/v1/status": models.Status,
    "/api/v1/queue": models.Queues,
    "/api/v1/studies": models.Studies,
    "/api/v1/studies/{uid}": models.StudyHops,
    "/api/v1/studies/{uid}/custody": StudyCustody,
    "/api/v1/studies/{uid}/progress": models.StudyProgress,
    "/api/v1/worklist/sources": models.WorklistSources,
    "/api/v1/mpps": Mpps,
    "/api/v1/orders/out": OrdersOut,
    "/api/v1/worklist/scanners": models.WorklistScanners,
    "/api/v1/worklist/explain": models.WorklistExplanation,
    "/api/v1/alarms": models.Alarms,
    "/api/v1/peers": models.Peers,
    "/healthz": models.Health,
}
DESK: dict[tuple[str, str], tuple[str, type[models.Answer]]] = {
    ("/api/v1/desk", "get"): ("200", desk_models.DeskEntries),
    ("/api/v1/desk", "post"): ("201", desk_models.DeskEntry),
    ("/api/v1/desk/{entry}", "get"): ("200", desk_models.DeskEntry),
    ("/api/v1/desk/{entry}/suggestions", "get"): ("200", desk_models.DeskSuggestions),
    ("/api/v1/desk/{entry}/reconcile", "post"): ("200", desk_models.DeskEntry),
    ("/api/v1/desk/{entry}/unlink", "post"): ("200", desk_models.DeskEntry),
    ("/api/v1/desk/{entry}/cancel", "post"): ("200", desk_models.DeskEntry),
    ("/api/v1/orders", "post"): ("200", order_models.OrderOutcome),
    ("/api/v1/orders/out/{message}/retry", "post"): ("200", OrderMessage),
    ("/api/v1/orders/out/{message}/dismiss", "post"): ("200", OrderMessage),
    ("/api/v1/tasks", "get"): ("200", task_models.Tasks),
    ("/api/v1/tasks/rules", "get"): ("200", task_models.Remembered),
    ("/api/v1/tasks/rules/{rule}/revoke", "post"): ("201", task_models.Revoked),
    ("/api/v1/tasks/summary", "get"): ("200", task_models.Summary),
    ("/api/v1/tasks/{key}", "get"): ("200", task_models.Case),
    **{
        (f"/api/v1/tasks/{{key}}/{word}", "post"): ("201", task_models.Decided)
        for word in ("decide", "release", "hold", "reject", "undo", "done")
    },
}
"""What decides, or names patients (test_desk.py, test_orders.py, test_orders_out.py,
test_tasks.py)."""


def asked(path: str) -> str:
    """An operation's address with what it must be asked with."""
    question = f"?aet=CT1&patient={PATIENT}" if path.endswith("/explain") else ""
    return path.format(uid=STUDY) + question


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_openapi_3_1_and_every_operation_has_its_answer(console: Served) -> None:
    document = console.json("/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1.")
    reading: dict[tuple[str, str], tuple[str, type[Any]]]
    reading = {(path, "get"): ("200", model) for path, model in OPERATIONS.items()}
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == (reading | DESK).keys()
    for (path, method), (status, model) in (reading | DESK).items():
        answers = document["paths"][path][method]["responses"]
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{model.__name__}"}
        assert answers["503"]["content"].keys() == {"application/problem+json"}
    schemas = document["components"]["schemas"]
    used = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert used == schemas.keys()


def test_the_kept_document_is_current(console: Served) -> None:
    kept = json.loads(DOCUMENT.read_text())
    remedy = "curl -s http://127.0.0.1:8080/api/v1/openapi.json | python3 -m json.tool --indent 2 > docs/openapi.json"
    assert kept == console.json("/api/v1/openapi.json"), remedy


@pytest.mark.parametrize("full", [False, True], ids=["empty", "bad-night"])
def test_every_answer_is_what_the_document_promises(site: Site, console: Served, full: bool) -> None:
    if full:
        bad_night(site)
    else:
        images(site, b"a")
    for path, model in OPERATIONS.items():
        status, headers, body = console.ask(asked(path))
        assert (status, headers["content-type"]) == (200, "application/json"), path
        TypeAdapter(model).validate_json(body)


def test_status_is_flat_and_counts(site: Site, console: Served) -> None:
    bad_night(site)
    told = console.json("/api/v1/status")
    assert not [value for value in told.values() if isinstance(value, dict | list)]
    assert told["sentence"] == site.run("status").stdout.splitlines()[0]
    assert (told["mood"], told["needs_a_person"]) == ("person", True)
    assert (told["instances_delivered"], told["instances_quarantined"]) == (3, 1)
    assert (told["deliveries_waiting"], told["deliveries_refused"], told["alarms"]) == (40, 1, 3)
    assert (told["oldest_delivery_age_s"], told["worklist_oldest_age_s"]) == (3 * 3600, 5 * 3600)
    assert told["disk_free_bytes"] > 0


def test_no_patient_in_the_api(site: Site, console: Served) -> None:
    bad_night(site)
    told = "".join(console.text(asked(path)) for path in OPERATIONS)
    assert NAME not in told
    assert PATIENT not in told
    assert STUDY in told  # the way to ask for a study
    assert STUDY not in console.text("/api/v1/status")


def test_queue_says_why(site: Site, console: Served) -> None:
    bad_night(site)
    (pacs,) = console.json("/api/v1/queue")["destinations"]
    assert (pacs["waiting"], pacs["refused"], pacs["last_status"]) == (40, 1, "connect")
    assert pacs["reason"].startswith("no connection")


def test_studies_latest_first_and_limited(site: Site, console: Served) -> None:
    for number in range(5):
        images(site, b"x", study=f"2.25.40{number}")
    told = console.json("/api/v1/studies?limit=2")["studies"]
    assert [one["StudyInstanceUID"] for one in told] == ["2.25.404", "2.25.403"]
    images(site, b"y", study="2.25.400", ae="MR1")
    first = console.json("/api/v1/studies?limit=1")["studies"][0]
    assert (first["StudyInstanceUID"], first["images"], sorted(first["calling_ae"])) == ("2.25.400", 2, ["CT1", "MR1"])


def test_a_study_is_safe_only_when_all_of_it_is(site: Site, console: Served) -> None:
    path = f"/api/v1/studies/{STUDY}"
    site.route(*images(site, b"a"))
    site.send_all(confirm=False)
    assert console.json(path)["standing"] == "on-its-way"
    (claimed,) = console.json(path)["deliveries"]
    assert (claimed["state"], claimed["images"]) == ("sent", 1)
    site.route(*images(site, b"b"), to="second")
    site.refuse_all()
    assert console.json(path)["standing"] == "on-its-way"  # nothing of pacs was refused
    images(site, b"c")
    assert console.json(path)["standing"] == "on-its-way"  # not routed yet
    safe = "2.25.77"
    site.route(*images(site, b"a", study=safe))
    site.send_all(confirm=True)
    assert console.json(f"/api/v1/studies/{safe}")["standing"] == "safe"


def test_peers_with_a_command_that_can_be_pasted(site: Site, console: Served) -> None:
    stranger(site)
    stranger(site, "\udcff\x07")
    told = console.json("/api/v1/peers")
    assert told["configured"] == [{"ae": "CT1", "addresses": ["10.1.1.20/32"], "profile": "generic"}]
    commands = {one["calling_ae"]: one["command"] for one in told["turned_away"]}
    assert commands == {STRANGER: "gateway peers add '<b>'\"'\"'x;#'", "\ufffd\ufffd": ""}


def test_a_ris_that_was_never_asked_is_listed(site: Site, console: Served) -> None:
    (never,) = console.json("/api/v1/worklist/sources")["sources"]
    assert (never["name"], never["age_s"], never["stale"]) == ("main", None, False)
    assert site.spool.db.broken == ""


def test_worklist_sources_tell_their_age(site: Site, console: Served) -> None:
    scheduled(site)
    site.clock.pass_(seconds=12)
    (main,) = console.json("/api/v1/worklist/sources")["sources"]
    assert (main["rows"], main["age_s"], main["stale"]) == (1, 12.0, False)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/api/v1/studies/1.2.3", 404, "No image of that study"),
        ("/api/v1/studies?limit=0", 422, "limit: "),
        ("/api/v1/studies?limit=Quillfeather", 422, "limit: "),
        ("/api/v1/alarms?limit=99999999999999999999", 422, "limit: "),
        (f"/api/v1/studies/{'9' * 65}", 422, "uid: "),
        ("/api/v1/nothing", 404, "nothing at this address"),
        ("/api/v1/status/", 404, "nothing at this address"),
    ],
)
def test_errors_are_problem_details(console: Served, path: str, status: int, detail: str) -> None:
    got, headers, body = console.ask(path)
    told = models.Problem.model_validate_json(body)
    assert (got, told.status, headers["content-type"]) == (status, status, "application/problem+json")
    assert detail in told.detail
    assert "Quillfeather" not in body.decode()
    assert "9999" not in told.detail


def test_a_spool_that_cannot_be_read_is_unhealthy(site: Site, console: Served) -> None:
    assert console.json("/healthz")["index_read"] is True
    site.write(lambda c: c.execute("DROP TABLE alarm"))
    status, headers, body = console.ask("/healthz")
    assert (status, headers["content-type"], headers["retry-after"]) == (503, "application/problem+json", "5")
    assert json.loads(body)["detail"] == "The spool can't be read; check the disk."


def test_performed_steps_without_their_patients(site: Site, console: Served) -> None:
    steps.tell(site, "2.25.1")
    steps.refuse(site)
    steps.tell(site, "2.25.2")
    told = console.json("/api/v1/mpps")
    (peer,) = told["peers"]
    assert (peer["name"], peer["waiting"], peer["refused"]) == ("main", 1, 1)
    assert [step["messages"][0]["state"] for step in told["steps"]] == ["queued", "refused"]
    page = console.text("/")
    assert "1 message waiting, 1 refused" in page
    assert steps.PATIENT not in page + console.text("/api/v1/mpps")


def test_an_order_is_explained_and_its_patient_is_not_told(site: Site, console: Served) -> None:
    scheduled(site)
    (row,) = console.json(f"/api/v1/worklist/explain?aet=CT1&patient={PATIENT}")["rows"]
    assert (row["source"], row["stage"], row["shown_at"]) == ("main", "not-asked", None)
    assert row["reasons"] == [
        {
            "stage": "not-asked",
            "cause": "CT1 has not asked for a worklist.",
            "next_step": "Refresh the worklist at the scanner.",
        }
    ]
    (row,) = console.json("/api/v1/worklist/explain?aet=CT1&accession=NONE")["rows"]
    assert (row["source"], row["stage"]) == ("", "not-ordered")
    for question in ("aet=CT1", "accession=X", f"aet=CT1&patient={'9' * 65}"):
        status, _, body = console.ask(f"/api/v1/worklist/explain?{question}")
        assert status == 422
        assert b"9999" not in body


def test_each_scanner_tells_what_it_is_answered_from_and_what_became_of_its_question(
    site: Site, console: Served
) -> None:
    scheduled(site)
    site.clock.pass_(hours=1)
    asked = replace(QUERY, calling_ae="ct1", first_asked=site.clock(), last_asked=site.clock())
    other = replace(asked, calling_ae="MR9", status=0xA700, answered=0)
    site.write(lambda c: query_log.record(c, [asked, other], tally={QueryOutcome.ANSWERED: 3}))
    known, stranger_ = console.json("/api/v1/worklist/scanners")["scanners"]
    assert (known["calling_ae"], known["mode"], known["served_from"]) == ("CT1", "merge", {"main": "stale"})
    assert (known["last"]["answered"], known["last"]["outcome"], known["last"]["copy_age_s"]) == (3, "answered", 12.25)
    assert known["last"]["dropped"] == {"station": 5, "status": 1}
    assert (stranger_["calling_ae"], stranger_["last"]["outcome"]) == ("MR9", "refused")


def test_sources_tell_what_the_copy_holds_and_until_when_they_rest(site: Site, console: Served) -> None:
    scheduled(site)
    until = site.clock() + timedelta(seconds=30)
    site.write(lambda c: worklist.record_rest(c, SourceName("main"), until=until))
    (main,) = console.json("/api/v1/worklist/sources")["sources"]
    assert (main["copied"], datetime.fromisoformat(main["resting_until"])) == (1, until)
