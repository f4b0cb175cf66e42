"""What the endpoint tells Prometheus. infra/dashboards/serve.json shows these; docs/serving.md says what they mean."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
RATES = (1, 5, 10, 20, 40, 80, 160, 320, 640, 1280)


class Figures:
    """The metrics of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        place = self.registry
        self.requests = Counter("llavaflow_requests", "Requests answered whole.", ["version"], registry=place)
        self.errors = Counter("llavaflow_errors", "Requests refused or failed, by kind.", ["kind"], registry=place)
        self.first = Histogram(
            "llavaflow_first_token_seconds", "From the request to its first words.", buckets=SECONDS, registry=place
        )
        self.whole = Histogram(
            "llavaflow_request_seconds", "From the request to its last words.", buckets=SECONDS, registry=place
        )
        self.rate = Histogram(
            "llavaflow_answer_tokens_per_second", "Tokens a second of one answer.", buckets=RATES, registry=place
        )
        self.prompt_tokens = Counter("llavaflow_prompt_tokens", "Tokens of prompts.", registry=place)
        self.answer_tokens = Counter("llavaflow_answer_tokens", "Tokens of answers.", registry=place)
        self.queue = Gauge("llavaflow_queue", "Requests that wait for a place in the batch.", registry=place)
        self.under_way = Gauge("llavaflow_under_way", "Answers under way.", registry=place)
        self.model = Gauge("llavaflow_model", "1 for the version that answers.", ["version"], registry=place)
        self.switches = Counter(
            "llavaflow_switches", "Changes of the model: switched, refused, taken_back, restarted.", ["outcome"],
            registry=place,
        )
        self.shadowed = Counter(
            "llavaflow_shadowed", "Requests for the challenger too: stored, failed, left_out.", ["outcome"],
            registry=place,
        )
        self.registry_failures = Counter(
            "llavaflow_registry_failures", "Times the registry did not say where the alias points.", registry=place
        )

    def text(self) -> bytes:
        """All of them, as a scraper reads them."""
        return generate_latest(self.registry)

    def answers_with(self, version: str) -> None:
        """From now on this version answers."""
        self.model.clear()
        self.model.labels(version).set(1)
