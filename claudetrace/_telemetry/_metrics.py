"""Records OpenTelemetry metrics of each call: tokens, times, dollars, and the health of recording itself.

Rows come from the loader's thread of the process that made the calls, never from another process's journal. The names
are in `_instruments`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from operator import methodcaller, sub
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from claudetrace._call import PICOUSD_PER_USD, RESERVED_TAGS, prompt_tokens, spend_of
from claudetrace._clock import monotonic
from claudetrace._forks import Forks, watch
from claudetrace._operations import BATCHES_RESULT
from claudetrace._telemetry import _attributes as names
from claudetrace._telemetry._gathered import Gathered
from claudetrace._telemetry._instruments import INFERENCE, Instruments, forget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opentelemetry.metrics import MeterProvider

    from claudetrace._budgets._status import BudgetState
    from claudetrace._call import Row
    from claudetrace._errors import BudgetExceeded
    from claudetrace._guard import Guard

Attributes: TypeAlias = dict[str, str]

MOST_VALUES = 100
"""The most values of one attribute in a process: each new value adds time series, which backends bill."""

OTHER = "(other)"
MOST_ASIDE = 1024
MOST_CHUNKS = 10_000
MOST_CACHED = 4096
FORK_WAIT_S = 0.5
LOOK_AGAIN_S = 1.0
_KEY = ("operation", "platform", "model_requested", "model", "outcome", "feature", "error_type")

_COUNTS: dict[str, Callable[[Row], int | None]] = {
    "input": prompt_tokens,
    "output": methodcaller("get", "output_tokens"),
    "cache_read": methodcaller("get", "cache_read_tokens"),
    "cache_write": names.cache_write_tokens,
    "reasoning": methodcaller("get", "thinking_tokens"),
}
"""What each counter of the future conventions counts of a row."""


def wants_latest_names() -> bool:
    """Whether the user asks for the conventions' future names."""
    chosen = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return "gen_ai_latest_experimental" in [name.strip() for name in chosen]


class Series:
    """Attributes that many rows share, and what those rows have cost so far."""

    __slots__ = ("attributes", "input", "modality", "output", "spent_picousd", "told_usd")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.input = {**attributes, "gen_ai.token.type": "input"}
        self.output = {**attributes, "gen_ai.token.type": "output"}
        # The API does not tell text from images.
        self.modality = {**attributes, "gen_ai.token.modality": "unknown"}
        self.spent_picousd = 0
        self.told_usd = 0.0

    def further_usd(self) -> float:
        """What to add to a float counter, so that it is as near to the exact sum as a float can be.

        Adding each cost as a float would add an error each time. Never below 0, which a counter refuses: what was too
        much is subtracted from the next.
        """
        further = self.spent_picousd / PICOUSD_PER_USD - self.told_usd
        if further <= 0:
            return 0.0
        self.told_usd += further
        return further


class Metrics(Forks):
    """Records rows with the meter of the present provider. No method raises."""

    def __init__(
        self,
        meter_provider: Callable[[], MeterProvider | None],
        health: Callable[[], Mapping[str, int]],
        guard: Guard,
        budgets: Callable[[], Sequence[BudgetState]] | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self._meter_provider = meter_provider
        self._guard = guard
        self.budgets = budgets
        self.health = health
        self.closed = False
        self._latest = wants_latest_names()
        self._columns = {f"claudetrace.{tag}": RESERVED_TAGS[tag] for tag in tags if tag in RESERVED_TAGS}
        self._key = (*_KEY, *self._columns.values())
        self._free_tags = [tag for tag in tags if tag not in RESERVED_TAGS]
        self._reset()
        watch(self)

    def _reset(self) -> None:
        self._gate = threading.Lock()
        self.provider: MeterProvider | None = None
        self._instruments: Instruments | None = None
        self._look_again_at = 0.0
        self._aside: deque[tuple[str, Sequence[float]]] = deque(maxlen=MOST_ASIDE)
        self._chunks: dict[str, Sequence[float]] = {}
        self._blocked: dict[str, Attributes] = {}
        """Which budget has stopped the call of a row that is to come."""
        self._series: dict[tuple[tuple[str, str], ...], Series] = {}
        self._values: dict[str, set[str]] = {}

    @property
    def wanted(self) -> bool:
        """Whether there was a provider at the last row. Checked again once in a while."""
        return self._instruments is not None or (not self.closed and monotonic() >= self._look_again_at)

    def chunks(self, row_id: str, times_s: Sequence[float]) -> None:
        """Keeps the arrival times of a stream's chunks, from the first with output, until its row comes. No lock."""
        self._aside.append((row_id, times_s))

    def blocked(self, row_id: str, error: BudgetExceeded) -> None:
        """Keeps which budget has stopped a call until its row comes. Takes no lock."""
        if self.wanted and len(self._blocked) < MOST_CACHED:
            self._blocked[row_id] = names.budget_attributes(error.budget, error.key)

    def write(self, rows: list[Row]) -> None:
        """Records `rows`: new ones, of this process, and priced. On the loader's thread."""
        # Held during a fork: a child must not inherit a lock of the provider's that this thread holds.
        with self._gate, self._guard("record metrics"):
            instruments = self._current()
            self._take_aside(keep=instruments is not None)
            if instruments is None:
                self._look_again_at = monotonic() + LOOK_AGAIN_S
                return
            gathered = Gathered(self._guard)
            for alike in self._groups_of(rows):
                self._try(instruments, gathered, alike)
            with self._guard("record what is left of rate limits"):
                self._record_limits(instruments, gathered, rows)
            gathered.tell()

    def close(self) -> None:
        """Stops recording and observing. A provider keeps its instruments for good."""
        self.closed = True
        self._instruments = None
        forget(self)

    def _current(self) -> Instruments | None:
        """The instruments of the present provider, which an app may set at any time."""
        provider = None if self.closed else self._meter_provider()
        if provider is not self.provider:
            # Another provider: sums begin at 0 again.
            self._series.clear()
            self.provider = provider
            self._instruments = None if provider is None else Instruments(provider, self, latest=self._latest)
        return self._instruments

    def _take_aside(self, *, keep: bool) -> None:
        while self._aside:
            row_id, times_s = self._aside.popleft()
            if keep:
                self._chunks[row_id] = times_s
        if not keep:
            self._chunks.clear()
            self._blocked.clear()
        while len(self._chunks) > MOST_ASIDE:
            # Their rows never came.
            del self._chunks[next(iter(self._chunks))]

    def _try(self, of: Instruments, to: Gathered, rows: list[Row]) -> None:
        try:
            self._record(of, to, rows)
        except Exception as error:  # noqa: BLE001 - one row; the others may do
            if len(rows) == 1:
                self._guard.caught("record the metrics of a call", error)
                return
            for row in rows:
                self._try(of, to, [row])

    def _record(self, of: Instruments, to: Gathered, rows: list[Row]) -> None:
        """Gathers `rows`, which have the same attributes: all of them, or none where it raises."""
        first = rows[0]
        if (error := first.get("error_type")) == "BudgetExceeded":
            self._record_blocked(of, rows)
            return
        operation, outcome = first["operation"], first["outcome"]
        # Downloading a batch's results is one call, however many results there are.
        calls = [row for row in rows if row["id"] == row["call_id"]] if operation != BATCHES_RESULT.name else []
        took_s = [ms / 1e3 for row in calls if (ms := row.get("duration_ms")) is not None]
        first_s = [
            ms / 1e3 for row in calls if row["streamed"] and (ms := row.get("time_to_first_token_ms")) is not None
        ]
        prompts = [*map(prompt_tokens, rows)]
        # The spend, so that dashboards agree with the report. An unpriced answer adds nothing, and an operation that is
        # always free has no cost to record.
        spends = zip(map(spend_of, rows), prompts, strict=True)
        spent = [cost for cost, prompt in spends if cost is not None and (cost or prompt is not None)]
        series = self._series_of(first)
        with_error = series.attributes
        if outcome in ("error", "incomplete"):
            with_error = {**with_error, "error.type": self._limited("error.type", error or outcome)}
        to.record(of.duration_of(operation), took_s, with_error)
        to.record(of.time_to_first_chunk, first_s, series.attributes)
        to.record(of.time_per_output_chunk, self._pauses_s(rows), series.attributes)
        if of.tokens is None:
            self._record_latest(of, to, rows, series, with_error)
        else:
            to.record(of.tokens, [count for count in prompts if count is not None], series.input)
            outputs = [count for row in rows if (count := row.get("output_tokens")) is not None]
            to.record(of.tokens, outputs, series.output)
        if spent:
            to.record(of.operation_cost, [cost / PICOUSD_PER_USD for cost in spent], series.attributes)
            series.spent_picousd += sum(spent)
            to.add_later(of.cost, series.further_usd, series.attributes)

    def _record_blocked(self, of: Instruments, rows: list[Row]) -> None:
        """Counts calls that a budget has stopped. They were never made."""
        for row in rows:
            if (budget := self._blocked.pop(row["id"], None)) is not None:
                limited = {name: self._limited(f"{name} of {budget[names.BUDGET]}", budget[name]) for name in budget}
                of.blocked.add(1, limited)

    def _pauses_s(self, rows: list[Row]) -> list[float]:
        """The seconds from one chunk to the next, of all streams among `rows`."""
        pauses_s: list[float] = []
        for row in rows if self._chunks else ():
            times_s = self._chunks.pop(row["id"], ())[:MOST_CHUNKS]
            pauses_s += map(sub, times_s[1:], times_s)
        return pauses_s

    def _record_latest(self, of: Instruments, to: Gathered, rows: list[Row], series: Series, told: Attributes) -> None:
        # The future conventions want 0 for failed calls, so that averages include them.
        if rows[0]["operation"] not in INFERENCE:
            rows = [row for row in rows if prompt_tokens(row) is not None]
        counts = {kind: [count(row) or 0 for row in rows] for kind, count in _COUNTS.items()}
        for kind, each in counts.items() if rows else ():
            to.add(of.usage[kind], sum(each), series.modality)
        to.record(of.operation_input, counts["input"], told)
        to.record(of.operation_output, counts["output"], told)

    def _record_limits(self, of: Instruments, to: Gathered, rows: list[Row]) -> None:
        """Gathers what is left of each rate limit, by the last of `rows` that says so."""
        left = {
            (row.get("rate_limit"), row.get("model_requested")): headroom
            for row in rows
            if (headroom := row.get("rate_limit_headroom")) is not None
        }
        for (limit, model), headroom in left.items():
            told = {"claudetrace.rate_limit": limit, "gen_ai.request.model": model}
            to.set(of.headroom, headroom, self._limited_all(told))

    def _groups_of(self, rows: list[Row]) -> Iterable[list[Row]]:
        """`rows` by their attributes, but for those whose attributes cannot be told."""
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            try:
                groups.setdefault(self._key_of(row), []).append(row)
            except Exception as error:  # noqa: BLE001 - one row; the others may do
                self._guard.caught("record the metrics of a call", error)
        return groups.values()

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        """What the attributes of a row follow from."""
        key = tuple(map(row.get, self._key))
        return (*key, *self._free_attributes(row).values()) if self._free_tags else key

    def _series_of(self, row: Row) -> Series:
        attributes = self._attributes_of(row)
        key = tuple(attributes.items())
        if key not in self._series:
            self._series[key] = Series(attributes)
        return self._series[key]

    def _free_attributes(self, row: Row) -> dict[str, str | None]:
        tags = orjson.loads(row.get("tags") or "{}")
        return {f"claudetrace.tag.{tag}": tags.get(tag) for tag in self._free_tags}

    def _attributes_of(self, row: Row) -> Attributes:
        operation, platform = row["operation"], row["platform"]
        attributes = {
            "gen_ai.operation.name": names.OPERATIONS.get(operation, operation),
            "gen_ai.provider.name": names.PROVIDERS.get(platform, "anthropic"),
            "gen_ai.request.model": row.get("model_requested"),
            "gen_ai.response.model": row.get("model"),
            "claudetrace.outcome": row["outcome"],
            "claudetrace.platform": platform,
            "claudetrace.feature": row.get("feature"),
            **{name: row.get(column) for name, column in self._columns.items()},
            **self._free_attributes(row),
        }
        return self._limited_all(attributes)

    def _limited_all(self, attributes: Mapping[str, str | None]) -> Attributes:
        return {name: self._limited(name, value) for name, value in attributes.items() if value is not None}

    def _limited(self, name: str, value: str) -> str:
        """`value`, or `(other)` beyond the first hundred values of this attribute."""
        seen = self._values.setdefault(name, set())
        if value not in seen:
            if len(seen) >= MOST_VALUES:
                return OTHER
            seen.add(value)
        return value

    # Around a fork. The child has its own rows and sums; the arrival times are the parent's.

    def before_fork(self) -> None:
        self._held = self._gate.acquire(timeout=FORK_WAIT_S)

    def after_fork_in_parent(self) -> None:
        if self._held:
            self._gate.release()

    def after_fork_in_child(self) -> None:
        self._reset()
