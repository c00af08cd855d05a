"""The instruments of the metrics: names, units and buckets of OpenTelemetry's GenAI conventions, and our own.

There are two sets of names: those in use, and those that the conventions have agreed on for the future, which
`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` selects. tests/telemetry/conventions.json has their sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from claudetrace._telemetry._attributes import OPERATIONS, SCHEMA_URL, SCOPE, budget_attributes
from claudetrace._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, MeterProvider, Observation

    from claudetrace._budgets._status import BudgetState

    Point: TypeAlias = tuple[int | float, dict[str, str] | None]

TOKENS = tuple(4**power for power in range(14))
SECONDS = tuple(round(0.01 * 2**power, 2) for power in range(14))

# From a few tokens of the cheapest model to a full context of the most expensive one with web searches. The bounds are
# amounts at which people set limits, and a quantile is no less exact than with the conventions' buckets of tokens.
DOLLARS = (1e-05, 3e-05, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

INFERENCE = frozenset(OPERATIONS)
"""The operations in which a model answers. Others have a metric of their own."""


class Metrics(Protocol):
    """What is observed: how recording goes, and the budgets."""

    provider: MeterProvider | None
    health: Callable[[], Mapping[str, int]]
    budgets: Callable[[], Sequence[BudgetState]] | None
    closed: bool


class Instruments:
    """The instruments of one provider's meter."""

    def __init__(self, provider: MeterProvider, metrics: Metrics, *, latest: bool) -> None:
        meter = provider.get_meter(SCOPE, __version__, SCHEMA_URL)
        self._meter = meter
        now, to_come = "gen_ai.client.operation", "gen_ai.client.inference"
        streams = to_come if latest else now
        self.tokens: Histogram | None = None
        self._duration = self._histogram(f"{now}.duration", "s", "How long a call took.", SECONDS)
        self._inference_duration = self._duration
        self.time_to_first_chunk = self._histogram(
            f"{streams}.time_to_first_chunk", "s", "From a call to the first chunk of its answer.", SECONDS
        )
        self.time_per_output_chunk = self._histogram(
            f"{streams}.time_per_output_chunk", "s", "From one chunk of an answer to the next.", SECONDS
        )
        if latest:
            self._make_latest(to_come)
        else:
            self.tokens = self._histogram("gen_ai.client.token.usage", "{token}", "Tokens of an answer.", TOKENS)
        self.operation_cost = self._histogram(f"{now}.cost", "{USD}", "What an answer costs.", DOLLARS)
        self.cost = meter.create_counter("claudetrace.cost", "{USD}", "What was spent.")
        self.headroom = meter.create_gauge(
            "claudetrace.rate_limit.headroom", "1", "What is left of the tightest rate limit, of 1."
        )
        self.blocked = meter.create_counter(
            "claudetrace.budget.blocked", "{call}", "Calls that a budget has stopped before they left."
        )
        observe(meter, metrics)

    def _make_latest(self, prefix: str) -> None:
        self._inference_duration = self._histogram(f"{prefix}.duration", "s", "How long a call took.", SECONDS)
        self.usage: dict[str, Counter] = {
            kind: self._meter.create_counter(f"{prefix}.usage.{name}", "{token}", f"Tokens: {what}.")
            for kind, name, what in (
                ("input", "input_tokens", "input, those of the cache among them"),
                ("output", "output_tokens", "output, those of thinking among them"),
                ("cache_read", "cache_read.input_tokens", "input that the cache had"),
                ("cache_write", "cache_write.input_tokens", "input written to the cache"),
                ("reasoning", "reasoning.output_tokens", "output that is thinking"),
            )
        }
        self.operation_input = self._histogram(
            f"{prefix}.operation.input_tokens", "{token}", "Input tokens of an answer.", TOKENS
        )
        self.operation_output = self._histogram(
            f"{prefix}.operation.output_tokens", "{token}", "Output tokens of an answer.", TOKENS
        )

    def duration_of(self, operation: str) -> Histogram:
        """Where the duration of such a call belongs."""
        return self._inference_duration if operation in INFERENCE else self._duration

    def _histogram(self, name: str, unit: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        return self._meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)


class _Observed:
    """The `Metrics` whose health is observed, and what those before it have lost: a counter never goes back."""

    def __init__(self) -> None:
        self.metrics: Metrics | None = None
        self.before = self.last = 0

    def switch(self, metrics: Metrics | None) -> None:
        self.metrics = metrics
        self.before, self.last = self.before + self.last, 0

    def lost(self, metrics: Metrics) -> Iterable[Point]:
        self.last = metrics.health().get("lost", 0)
        return [(self.before + self.last, None)]


# One for the process: a provider that has an instrument of a name keeps the callback that it was first made with.
_observed = _Observed()


def observe(meter: Meter, metrics: Metrics) -> None:
    """From now on `meter` observes health and budgets of `metrics`, as long as its provider is the present one."""
    if _observed.metrics is not metrics:
        _observed.switch(metrics)
    provider = metrics.provider

    def observing(read: Callable[[Metrics], Iterable[Point]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_options: CallbackOptions) -> Iterable[Observation]:
            from opentelemetry.metrics import Observation

            now: Any = _observed.metrics
            if now is None or now.closed or now.provider is not provider:
                return []
            return [Observation(value, attributes) for value, attributes in read(now)]

        return callback

    meter.create_observable_counter(
        "claudetrace.records.lost", [observing(_observed.lost)], "{record}", "Rows that could not be kept."
    )
    meter.create_observable_up_down_counter(
        "claudetrace.journal.pending",
        [observing(lambda now: [(now.health().get("pending", 0), None)])],
        "{record}",
        "Rows that are not in the ledger yet.",
    )
    if metrics.budgets is not None:
        spent = "What a budget has spent in its window, by all that share its store."
        # No counters: they go back to nothing with each window, and a limit may be lowered.
        meter.create_observable_gauge("claudetrace.budget.spent", [observing(_usd("spent_usd"))], "{USD}", spent)
        meter.create_observable_gauge(
            "claudetrace.budget.limit", [observing(_usd("limit_usd"))], "{USD}", "What it may spend."
        )


def _usd(field: str) -> Callable[[Metrics], Iterable[Point]]:
    def read(metrics: Metrics) -> Iterable[Point]:
        states: Sequence[BudgetState] = () if metrics.budgets is None else metrics.budgets()
        return [
            (float(usd), budget_attributes(str(state.budget.name), state.key))
            for state in states
            if (usd := getattr(state, field)) is not None
        ]

    return read


def forget(metrics: Metrics) -> None:
    """Ends the observation of `metrics`."""
    if _observed.metrics is metrics:
        _observed.switch(None)
