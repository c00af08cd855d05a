"""How long answers took and how fast they came: percentiles of summed counts, from the calls where no sum has them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._ledger._answer import known_span
from claudetrace._ledger._latency import percentile
from claudetrace._ledger._question import CALLS, Question, Source
from claudetrace._ledger._rollups import pruned_before

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

KINDS = ("duration_ms", "time_to_first_token_ms", "output_tokens_per_s")
SUMS = Source("rollup_latencies", "day")
FEATURE_SUMS = Source("rollup_feature_latencies", "day")


class Latency(NamedTuple):
    """The answers of the same dimensions. A percentile is within 2.2 % of the exact one; `None` of no answers."""

    dimensions: Mapping[str, str | None]
    responses: int
    percentiles: Mapping[tuple[str, int], float]
    """By kind of measure and per cent."""
    counts: Mapping[str, int]
    """How many answers have each kind."""

    def at(self, kind: str, percent: int) -> float | None:
        """That percentile of a kind."""
        return self.percentiles.get((kind, percent))


class Latencies(NamedTuple):
    """The rows with most answers first, and all of them together."""

    rows: list[Latency]
    total: Latency
    pruned_before: str | None
    """Where calls had to be read: the day before which they are pruned, if they are."""


def read_latencies(connection: sqlite3.Connection, question: Question) -> Latencies:
    """A row for each value of what is asked by, or for each combination."""
    counts: dict[tuple[str | None, ...], dict[str, Counter[int]]] = {}
    for key, kind, bucket, responses in _counts(connection, question):
        for each in {key, ()}:
            counts.setdefault(each, {}).setdefault(kind, Counter())[bucket] += responses
    whole = counts.pop((), {})
    rows = [_latency(question.by, key, each) for key, each in counts.items()]
    rows.sort(key=lambda row: (-row.responses, next(iter(row.dimensions.values())) or ""))
    pruned = None if has_sums(question) else pruned_before(connection, question.span.since)
    return Latencies(rows, _latency((), (), whole), pruned)


def has_sums(question: Question) -> bool:
    """Whether sums can answer it, so that no calls have to be read."""
    return question.used <= {"model", "platform", "feature", "day", "week", "month"} and not question.is_shifted


def _latency(names: tuple[str, ...], key: tuple[str | None, ...], counts: dict[str, Counter[int]]) -> Latency:
    percentiles = {
        (kind, percent): percentile(sorted(by_bucket.items()), percent)
        for kind, by_bucket in counts.items()
        for percent in (50, 95, 99)
    }
    answers = {kind: by_bucket.total() for kind, by_bucket in counts.items()}
    return Latency(dict(zip(names, key, strict=True)), answers.get("duration_ms", 0), percentiles, answers)


def _counts(
    connection: sqlite3.Connection, question: Question
) -> Iterator[tuple[tuple[str | None, ...], str, int, int]]:
    by_feature = "feature" in question.used
    is_summed = has_sums(question)
    for shift, span in question.shifts(known_span(connection)):
        for unit, part in span.pieces(("day",) if is_summed else ()):
            source = CALLS if unit is None else FEATURE_SUMS if by_feature else SUMS
            keys, key_values = question.keys(source, shift)
            condition, values = question.condition(source, part, shift)
            named = "".join(f"{key} AS key_{number}, " for number, key in enumerate(keys))
            found = "".join(f"key_{number}, " for number in range(len(keys)))
            groups = ", ".join(str(number) for number in range(1, len(keys) + 3))
            rows = f"SELECT {named}kind, bucket, responses FROM {source.table} WHERE {condition}"  # noqa: S608 - SQL of ours
            if unit is None:
                rows = (
                    f"SELECT {found}v.kind, v.bucket, v.responses "  # noqa: S608 - SQL of ours
                    f"FROM (SELECT {named}id FROM measured_calls WHERE {condition}) AS m "
                    "JOIN measured_latencies AS v ON v.id = m.id"
                )
            sql = f"SELECT {found}kind, bucket, SUM(responses) FROM ({rows}) GROUP BY {groups}"  # noqa: S608 - SQL of ours
            for *key, kind, bucket, responses in connection.execute(sql, (*key_values, *values)):
                yield tuple(value or None for value in key), kind, bucket, responses
