"""Times and speeds of responses as counts of logarithmic buckets, so that percentiles can be summed.

With 32 buckets an octave a percentile is within 2.2 % of the exact one, whatever the range and the filters.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

Columns: TypeAlias = "Mapping[str, Sequence[Any]]"
"""Rows by column: what each has there, or `None`. A column that none has may be left out."""

BUCKETS_AN_OCTAVE = 32
LOWEST_OCTAVE, HIGHEST_OCTAVE = -8, 28
BOUNDS = tuple(
    2.0 ** (number / BUCKETS_AN_OCTAVE)
    for number in range(LOWEST_OCTAVE * BUCKETS_AN_OCTAVE, HIGHEST_OCTAVE * BUCKETS_AN_OCTAVE + 1)
)
"""Where bucket 1 and those after it begin; what is less than the first is in bucket 0. The ledger has a table of them,
since not every SQLite can take a logarithm, and so that both sides find the same bucket."""
EDGES: tuple[tuple[float, float], ...] = ((0.0, BOUNDS[0]), *pairwise(BOUNDS), (BOUNDS[-1], BOUNDS[-1]))
"""Where each bucket begins and ends."""
KINDS = ("duration_ms", "time_to_first_token_ms", "output_tokens_per_s")
_MEASURED = ("duration_ms", "time_to_first_token_ms", "response_ms", "output_tokens")
BUCKETS_DDL = """CREATE TABLE latency_buckets (
    bucket INTEGER PRIMARY KEY,
    from_value REAL NOT NULL UNIQUE,
    to_value REAL NOT NULL
) STRICT"""

# Of answers alone: a failure says how long it took to fail, and counting tokens is no answer.
ANSWERED = "c.outcome = 'ok' AND c.output_tokens IS NOT NULL"
VIEW = f"""CREATE VIEW measured_latencies AS
SELECT
    id,
    started_at,
    SUBSTR(started_at, 1, 13) AS hour,
    SUBSTR(started_at, 1, 10) AS day,
    platform,
    COALESCE(model, '') AS model,
    COALESCE(feature, '') AS feature,
    session_id,
    kind,
    value,
    COALESCE(
        (SELECT b.bucket FROM latency_buckets AS b WHERE b.from_value <= value ORDER BY b.from_value DESC LIMIT 1),
        0
    ) AS bucket,
    1 AS responses
FROM (
    SELECT
        c.*,
        k.kind,
        CASE k.kind
            WHEN 'duration_ms' THEN c.duration_ms
            WHEN 'time_to_first_token_ms' THEN c.time_to_first_token_ms
            WHEN 'output_tokens_per_s' THEN IIF(c.response_ms > 0, c.output_tokens * 1000.0 / c.response_ms, NULL)
        END AS value
    FROM calls AS c
    CROSS JOIN (
        SELECT 'duration_ms' AS kind
        UNION ALL
        SELECT 'time_to_first_token_ms'
        UNION ALL
        SELECT 'output_tokens_per_s'
    ) AS k
    WHERE {ANSWERED}
)
WHERE value IS NOT NULL"""  # noqa: S608 - SQL of ours


def create_buckets(connection: sqlite3.Connection) -> None:
    """Makes the table of the buckets."""
    connection.execute(BUCKETS_DDL)
    rows = [(bucket, *edges) for bucket, edges in enumerate(EDGES)]
    connection.executemany("INSERT INTO latency_buckets (bucket, from_value, to_value) VALUES (?, ?, ?)", rows)


def buckets_of(columns: Columns) -> Iterator[Sequence[int | None]]:
    """For each of `KINDS` the bucket of each row of `columns` that has it: the same as the view says."""
    nones = (None,) * len(columns["id"])
    duration_ms, first_ms, response_ms, tokens = (columns.get(name, nones) for name in _MEASURED)
    counts = [count if outcome == "ok" else None for outcome, count in zip(columns["outcome"], tokens, strict=True)]
    paces = [
        count * 1000.0 / ms if count is not None and ms is not None and ms > 0 else None
        for count, ms in zip(counts, response_ms, strict=True)
    ]
    for values in (duration_ms, first_ms, paces):
        yield [
            None if value is None or count is None else bisect_right(BOUNDS, value)
            for value, count in zip(values, counts, strict=True)
        ]


def percentile(counts: list[tuple[int, int]], percent: int) -> float:
    """The value below which `percent` of a hundred are, of counts by bucket in their order: interpolated in the bucket
    that holds the value of that rank."""
    total, up_to = sum(count for _, count in counts), 0
    for bucket, count in counts:
        if (up_to + count) * 100 >= percent * total:
            low, high = EDGES[bucket]
            share: float = (percent * total / 100 - up_to) / count
            return low + (high - low) * share
        up_to += count
    raise ValueError("no percentile of nothing")
