"""What a collector counts of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Figures:
    """The series of one collector; every one is there from the start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "gateway_fleet_messages", "Messages that are committed, by kind", ["kind"], registry=self.registry
        )
        self.refused = Counter(
            "gateway_fleet_refused", "Messages that were none, by reason", ["reason"], registry=self.registry
        )
        self.events = Counter("gateway_fleet_events", "Events that are committed, each once", registry=self.registry)
        self.again = Counter(
            "gateway_fleet_events_again", "Events that came and were here already", registry=self.registry
        )
        self.acks = Counter("gateway_fleet_acks", "Acknowledgements sent to boxes", registry=self.registry)
        self.waits = Counter(
            "gateway_fleet_waits", "Times that a commit or the broker had to be tried again", registry=self.registry
        )
        self.delay = Histogram(
            "gateway_fleet_delay_seconds",
            "From the time in a live message, by the clock of its box, to its commit here",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.listening = Gauge(
            "gateway_fleet_listening", "1 if the broker lets us hear all that boxes say", registry=self.registry
        )
        self.batch = Gauge("gateway_fleet_batch", "Messages of the last commit", registry=self.registry)
        self.unsent = Gauge("gateway_fleet_samples_waiting", "Samples that the store has not", registry=self.registry)
        self.dropped = Gauge("gateway_fleet_samples_dropped", "Samples given up, ever", registry=self.registry)
        self.boxes = Gauge("gateway_fleet_boxes", "Boxes by how they are", ["state"], registry=self.registry)
        self.incidents = Gauge(
            "gateway_fleet_incidents_open", "Incidents that are open, by code", ["code"], registry=self.registry
        )
