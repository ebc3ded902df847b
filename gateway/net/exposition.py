"""What a box shows, in the text formats of Prometheus and OpenMetrics.

What is promised: labels are configured names, states and alarm codes; never an AE title of a stranger, a UID or
anything of a patient (invariant 9). Series of the configuration and of every alarm code are there from the start,
at zero, so that a rule on them is not blind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.domain.health import Seen
from gateway.domain.issues import KINDS
from gateway.domain.overview import oldest_age


def exposition(seen: Seen, *, accept: str) -> tuple[bytes, str]:
    """The text, and its media type as the scraper accepts it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reading(seen))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


@dataclass(frozen=True, slots=True, eq=False)  # the registry keeps it by identity
class _Reading(Collector):
    """One scrape."""

    seen: Seen

    def collect(self) -> Iterator[Metric]:
        """Every series."""
        yield InfoMetricFamily("gateway_build", "The version that runs", {"version": version("modality-gateway")})
        yield from self._images()
        yield from self._worklist()
        yield from self._relays()
        yield from self._parts()
        overview = self.seen.overview
        alarms = GaugeMetricFamily("gateway_alarms", "Alarms that stand, by code", labels=["code"])
        standing = Counter(one.code for one in overview.alarms)
        for code in sorted(KINDS.keys() | standing.keys()):
            alarms.add_metric([code], standing[code])
        yield alarms
        person = GaugeMetricFamily("gateway_needs_a_person", "1 if anything stands that does not end by itself")
        person.add_metric([], overview.needs_a_person)
        yield person
        open_tasks = GaugeMetricFamily("gateway_tasks_open", "Tasks of persons that are open", labels=["holds"])
        open_tasks.add_metric(["yes"], overview.studies_held)
        open_tasks.add_metric(["no"], overview.tasks - overview.studies_held)
        yield open_tasks
        strangers = GaugeMetricFamily("gateway_callers_turned_away", "Callers that are remembered as turned away")
        strangers.add_metric([], len(overview.strangers))
        yield strangers
        free = GaugeMetricFamily("gateway_disk_free_bytes", "Free space where the spool lies")
        free.add_metric([], self.seen.free_bytes)
        yield free
        yield from self._disk()
        yield from self._health()

    def _parts(self) -> Iterator[Metric]:
        overview = self.seen.overview
        alive = GaugeMetricFamily("gateway_part_alive", "1 if a process is it and proves its work", labels=["part"])
        ages = GaugeMetricFamily(
            "gateway_part_proof_age_seconds", "Since a part's work was proven last, or it was started", labels=["part"]
        )
        for one in overview.parts:
            alive.add_metric([one.part], not one.found(overview.now))
            if one.seen is not None:
                ages.add_metric([one.part], max(0.0, (overview.now - one.seen).total_seconds()))
        yield alive
        yield ages

    def _health(self) -> Iterator[Metric]:
        """Peers and hops by the names of the configuration; nothing of those that were never asked."""
        labels = ["peer", "hop"]
        works = GaugeMetricFamily("gateway_probe_works", "1 if the last probe of health went well", labels=labels)
        at = GaugeMetricFamily("gateway_probe_age_seconds", "Since the last probe that went well", labels=labels)
        took = GaugeMetricFamily("gateway_probe_duration_seconds", "Of the last probe, if it went well", labels=labels)
        for one in self.seen.probes:
            named = [one.peer, one.hop.value]
            works.add_metric(named, not one.code)
            if one.last_good is not None:
                at.add_metric(named, max(0.0, (self.seen.overview.now - one.last_good).total_seconds()))
            if one.latency_ms is not None:
                took.add_metric(named, one.latency_ms / 1000)
        yield works
        yield at
        yield took

    def _disk(self) -> Iterator[Metric]:
        disk = self.seen.overview.disk
        holds_out = None if disk is None else disk.holds_out
        told = (
            ("total_bytes", "Size of the disk of the spool", None if disk is None else disk.total),
            ("confirmed_bytes", "Of images that may be let go for room", None if disk is None else disk.confirmed),
            ("ingest_bytes_per_second", "The faster of the last hour and day", None if disk is None else disk.ingest),
            (
                "holds_out_seconds",
                "Room left at that rate, should no destination confirm any more",
                None if holds_out is None else holds_out.total_seconds(),
            ),
        )
        for name, help_text, value in told:
            family = GaugeMetricFamily(f"gateway_disk_{name}", help_text)
            if value is not None:
                family.add_metric([], value)
            yield family

    def _images(self) -> Iterator[Metric]:
        overview = self.seen.overview
        instances = GaugeMetricFamily("gateway_instances", "Images by state", labels=["state"])
        for state, count in overview.instances.items():
            instances.add_metric([state], count)
        yield instances
        quarantined = GaugeMetricFamily("gateway_instances_quarantined", "Images that wait for a person's decision")
        quarantined.add_metric([], overview.quarantined)
        yield quarantined
        labels = ["destination", "state"]
        deliveries = GaugeMetricFamily("gateway_deliveries", "Deliveries that are not confirmed", labels=labels)
        help_text = "Age of the oldest delivery that is neither confirmed nor refused; 0 if none is"
        oldest = GaugeMetricFamily("gateway_delivery_oldest_age_seconds", help_text, labels=["destination"])
        for one in overview.destinations:
            deliveries.add_metric([one.name, "waiting"], one.waiting)
            deliveries.add_metric([one.name, "unconfirmed"], one.sent)
            deliveries.add_metric([one.name, "refused"], one.refused)
            oldest.add_metric([one.name], oldest_age(one, overview))
        yield deliveries
        yield oldest

    def _worklist(self) -> Iterator[Metric]:
        overview = self.seen.overview
        rows = GaugeMetricFamily("gateway_worklist_rows", "Rows of the last valid answer", labels=["source"])
        ages = GaugeMetricFamily("gateway_worklist_age_seconds", "Since the last valid answer", labels=["source"])
        stale = GaugeMetricFamily("gateway_worklist_stale", "1 if the copy is too old to trust", labels=["source"])
        failing = GaugeMetricFamily(
            "gateway_worklist_failing", "1 while a RIS fails to answer us, scanner or not", labels=["source"]
        )
        for one in overview.worklist:
            failing.add_metric([one.name], bool(one.last_error))
            rows.add_metric([one.name], one.rows)
            stale.add_metric([one.name], overview.is_stale(one))
            if one.last_success is not None:
                ages.add_metric([one.name], max(0.0, (overview.now - one.last_success).total_seconds()))
        yield rows
        yield ages
        yield stale
        yield failing
        yield from self._worklist_use()

    def _worklist_use(self) -> Iterator[Metric]:
        overview = self.seen.overview
        copied = GaugeMetricFamily("gateway_worklist_copy_rows", "Rows in the copy, of any source", labels=["source"])
        for source, count in sorted(overview.copied.items()):
            copied.add_metric([source], count)
        yield copied
        resting = GaugeMetricFamily(
            "gateway_worklist_circuit_open", "1 while a RIS is left alone after failures", labels=["source"]
        )
        for one in overview.worklist:
            resting.add_metric([one.name], one.resting_until is not None and one.resting_until > overview.now)
        yield resting
        queries = CounterMetricFamily(
            "gateway_worklist_queries", "Questions of scanners by outcome", labels=["outcome"]
        )
        for outcome, count in self.seen.tally.items():
            queries.add_metric([outcome], count)
        yield queries

    def _relays(self) -> Iterator[Metric]:
        overview = self.seen.overview
        for kind, told, peers in (
            ("mpps", "about performed procedure steps", overview.mpps),
            ("orders_out", "about orders", overview.orders_out),
        ):
            help_text = f"Messages {told} that a peer has not taken"
            messages = GaugeMetricFamily(f"gateway_{kind}_messages", help_text, labels=["peer", "state"])
            help_text = "Age of the oldest of them that waits; 0 if none does"
            oldest = GaugeMetricFamily(f"gateway_{kind}_oldest_age_seconds", help_text, labels=["peer"])
            for one in peers:
                messages.add_metric([one.name, "waiting"], one.waiting)
                messages.add_metric([one.name, "refused"], one.refused)
                oldest.add_metric([one.name], oldest_age(one, overview))
            yield messages
            yield oldest
