"""What a scraper reads: parsed by Prometheus's own parsers, with the counts of the books and nobody's data."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.domain.health import Hop
from gateway.domain.issues import KINDS
from gateway.spool import Connection, health
from tests.cli import test_mpps as steps
from tests.cli.site import Site
from tests.console.box import NAME, PATIENT, STRANGER, STUDY, Served, bad_night

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(served: Served, accept: str = "text/plain") -> dict[tuple[str, ...], float]:
    status, headers, body = served.ask("/metrics", accept=accept)
    assert status == 200
    openmetrics = headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics == (accept == OPENMETRICS)
    parse = parse_openmetrics if openmetrics else parse_text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["text/plain", OPENMETRICS])
def test_the_counts_of_the_books(site: Site, console: Served, accept: str) -> None:
    bad_night(site)
    found = samples(console, accept)
    assert found["gateway_instances", "delivered"] == 3
    assert found["gateway_instances_quarantined",] == 1
    assert found["gateway_deliveries", "pacs", "waiting"] == 40
    assert found["gateway_deliveries", "pacs", "refused"] == 1
    assert found["gateway_delivery_oldest_age_seconds", "pacs"] == 3 * 3600
    assert found["gateway_worklist_rows", "main"] == 1
    assert found["gateway_worklist_age_seconds", "main"] == 5 * 3600
    assert found["gateway_worklist_stale", "main"] == 1
    assert found["gateway_worklist_failing", "main"] == 1
    assert found["gateway_worklist_copy_rows", "main"] == 1
    assert found["gateway_worklist_circuit_open", "main"] == 0
    assert found["gateway_worklist_queries_total", "answered"] == 0
    assert found["gateway_alarms", "delivery-refused"] == 1
    assert found["gateway_alarms", "no-route"] == 0
    assert found["gateway_needs_a_person",] == 1
    assert found["gateway_disk_free_bytes",] > 0
    assert [key for key in found if key[0] == "gateway_build_info"]


def test_rules_find_their_series_before_anything_happened(console: Served) -> None:
    found = samples(console)
    assert {key[1] for key in found if key[0] == "gateway_alarms"} == KINDS.keys()
    assert found["gateway_deliveries", "pacs", "waiting"] == 0
    assert found["gateway_delivery_oldest_age_seconds", "pacs"] == 0


def test_nobody_in_the_metrics(site: Site, console: Served) -> None:
    bad_night(site)
    text = console.text("/metrics")
    for secret in (NAME, PATIENT, STUDY, "774411", "2.25.", STRANGER, "MR7", "10.9.9.9", "CT1"):
        assert secret not in text


def test_a_ris_for_which_nothing_waits_is_there_at_zero(console: Served) -> None:
    found = samples(console)
    assert found["gateway_mpps_messages", "main", "waiting"] == 0
    assert found["gateway_mpps_oldest_age_seconds", "main"] == 0


def test_what_waits_for_a_ris(site: Site, console: Served) -> None:
    steps.tell(site, "2.25.1")
    steps.refuse(site)
    steps.tell(site, "2.25.2")
    site.clock.pass_(minutes=10)
    found = samples(console)
    assert found["gateway_mpps_messages", "main", "waiting"] == 1
    assert found["gateway_mpps_messages", "main", "refused"] == 1
    assert found["gateway_mpps_oldest_age_seconds", "main"] == 600


def test_what_health_saw_by_configured_names(site: Site, console: Served) -> None:
    def seen(c: Connection) -> None:
        at = site.clock()
        health.probed(c, hop=Hop.ECHO, peer="pacs", at=at, latency_ms=25.0, code="")
        health.probed(c, hop=Hop.FIND, peer="main", at=at, latency_ms=None, code="peer-fails")

    site.write(seen)
    site.clock.pass_(seconds=30)
    found = samples(console)
    assert found["gateway_probe_works", "echo", "pacs"] == 1
    assert found["gateway_probe_works", "find", "main"] == 0
    assert found["gateway_probe_age_seconds", "echo", "pacs"] == 30
    assert found["gateway_probe_duration_seconds", "echo", "pacs"] == 0.025
    assert ("gateway_probe_age_seconds", "find", "main") not in found
