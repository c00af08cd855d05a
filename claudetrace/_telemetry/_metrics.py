"""Records OpenTelemetry metrics of each call: tokens, times, dollars, and the health of recording itself.

Rows come from the loader's thread of the process that made the calls, never from another process's journal. The names
are in `_instruments`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from operator import sub
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
    from collections.abc import Callable, Mapping, Sequence

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
_KEY = ("operation", "platform", "model_requested", "model", "outcome", "feature")


def wants_latest_names() -> bool:
    """Whether the user asks for the conventions' future names."""
    chosen = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
    return "gen_ai_latest_experimental" in [name.strip() for name in chosen]


class Series:
    """Attributes that many rows share, and what those rows have cost so far."""

    __slots__ = ("_errors", "attributes", "input", "modality", "output", "spent_picousd", "told_usd")

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.input = {**attributes, "gen_ai.token.type": "input"}
        self.output = {**attributes, "gen_ai.token.type": "output"}
        # The API does not tell text from images.
        self.modality = {**attributes, "gen_ai.token.modality": "unknown"}
        self._errors: dict[str | None, Attributes] = {None: attributes}
        self.spent_picousd = 0
        self.told_usd = 0.0

    def with_error(self, error: str | None) -> Attributes:
        """The attributes with `error.type`, where there is one."""
        if error not in self._errors:
            self._errors[error] = {**self.attributes, "error.type": str(error)}
        return self._errors[error]

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
        self._by_row: dict[tuple[Any, ...], Series] = {}
        self._by_limit: dict[tuple[str | None, str | None], Attributes] = {}
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
            for row in rows:
                try:
                    self._record(instruments, gathered, row)
                except Exception as error:  # noqa: BLE001 - one row; the next may do
                    self._guard.caught("record the metrics of a call", error)
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
            self._by_row.clear()
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

    def _record(self, of: Instruments, to: Gathered, row: Row) -> None:
        error = row.get("error_type")
        if error == "BudgetExceeded":
            # It was never made.
            if (budget := self._blocked.pop(row["id"], None)) is not None:
                limited = {name: self._limited(f"{name} of {budget[names.BUDGET]}", budget[name]) for name in budget}
                of.blocked.add(1, limited)
            return
        series = self._series_of(row)
        failed = row["outcome"] in ("error", "incomplete")
        with_error = series.with_error(self._limited("error.type", error or row["outcome"]) if failed else None)
        # Downloading a batch's results is one call, however many results there are.
        if row["id"] == row["call_id"] and row["operation"] != BATCHES_RESULT.name:
            if (took_ms := row.get("duration_ms")) is not None:
                to.record(of.duration_of(row["operation"]), (took_ms / 1e3,), with_error)
            if row["streamed"] and (first_ms := row.get("time_to_first_token_ms")) is not None:
                to.record(of.time_to_first_chunk, (first_ms / 1e3,), series.attributes)
        times_s = self._chunks.pop(row["id"], ())[:MOST_CHUNKS]
        if len(times_s) > 1:
            to.record(of.time_per_output_chunk, map(sub, times_s[1:], times_s), series.attributes)
        input_tokens = prompt_tokens(row)
        self._record_tokens(of, to, row, series, with_error, input_tokens)
        self._record_cost(of, to, row, series, answered=input_tokens is not None)
        if (headroom := row.get("rate_limit_headroom")) is not None:
            to.set(of.headroom, headroom, self._limit_attributes(row))

    def _record_tokens(
        self,
        of: Instruments,
        to: Gathered,
        row: Row,
        series: Series,
        with_error: Attributes,
        input_tokens: int | None,
    ) -> None:
        output_tokens = row.get("output_tokens")
        if of.tokens is not None:
            if input_tokens is not None:
                to.record(of.tokens, (input_tokens,), series.input)
            if output_tokens is not None:
                to.record(of.tokens, (output_tokens,), series.output)
        elif row["operation"] in INFERENCE or input_tokens is not None:
            # The future conventions want 0 for failed calls, so that averages include them.
            to.add(of.usage["input"], input_tokens or 0, series.modality)
            to.add(of.usage["output"], output_tokens or 0, series.modality)
            to.add(of.usage["cache_read"], row.get("cache_read_tokens") or 0, series.modality)
            to.add(of.usage["cache_write"], names.cache_write_tokens(row) or 0, series.modality)
            to.add(of.usage["reasoning"], row.get("thinking_tokens") or 0, series.modality)
            to.record(of.operation_input, (input_tokens or 0,), with_error)
            to.record(of.operation_output, (output_tokens or 0,), with_error)

    def _record_cost(self, of: Instruments, to: Gathered, row: Row, series: Series, *, answered: bool) -> None:
        # The spend, so that dashboards agree with the report. An unpriced answer adds nothing, and an operation that is
        # always free has no cost to record.
        spend = spend_of(row)
        if spend is None or not (spend or answered):
            return
        to.record(of.operation_cost, (spend / PICOUSD_PER_USD,), series.attributes)
        series.spent_picousd += spend
        to.add_later(of.cost, series.further_usd, series.attributes)

    def _series_of(self, row: Row) -> Series:
        free = self._free_attributes(row) if self._free_tags else {}
        key = (*map(row.get, self._key), *free.values())
        found = self._by_row.get(key)
        if found is None:
            attributes = self._attributes_of(row, free)
            found = self._series.setdefault(tuple(attributes.items()), Series(attributes))
            if len(self._by_row) >= MOST_CACHED:
                self._by_row.clear()
            self._by_row[key] = found
        return found

    def _free_attributes(self, row: Row) -> dict[str, str | None]:
        tags = orjson.loads(row.get("tags") or "{}")
        return {f"claudetrace.tag.{tag}": tags.get(tag) for tag in self._free_tags}

    def _attributes_of(self, row: Row, free: Mapping[str, str | None]) -> Attributes:
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
            **free,
        }
        return {name: self._limited(name, value) for name, value in attributes.items() if value is not None}

    def _limit_attributes(self, row: Row) -> Attributes:
        key = row.get("rate_limit"), row.get("model_requested")
        if key not in self._by_limit:
            told = {"claudetrace.rate_limit": key[0], "gen_ai.request.model": key[1]}
            attributes = {name: self._limited(name, value) for name, value in told.items() if value is not None}
            if len(self._by_limit) >= MOST_CACHED:
                self._by_limit.clear()
            self._by_limit[key] = attributes
        return self._by_limit[key]

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
