"""The columns that most questions add up, written once."""

from __future__ import annotations

from claudetrace_dashboards.queries._sources import BASE

ALL = BASE | {"user", "tag", "session"}
COUNTS = ("calls", "unpriced_calls", "lower_bound_calls")
SPEND_COLUMNS = (*COUNTS, "spend_picousd")
CACHE_COLUMNS = (
    *("calls", "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("cache_saved_picousd", "cache_write_picousd"),
)


def stored(columns: tuple[str, ...]) -> list[str]:
    """`columns` as the rollups have them: money as its two."""
    names: list[str] = []
    for column in columns:
        stem = column.removesuffix("_picousd")
        names += [column] if stem == column else [f"{stem}_microusd", f"{stem}_rest_picousd"]
    return names


def plain(columns: tuple[str, ...]) -> str:
    """`columns` as they are stored."""
    return ", ".join(stored(columns))


def sums(columns: tuple[str, ...]) -> str:
    """`columns` added up, under their own names."""
    return ",\n    ".join(f"SUM({name}) AS {name}" for name in stored(columns))


PERIOD = "SUBSTR(measured.period, 1, :period_chars)"
DEAREST_FIRST = "SUM(spend_microusd) + SUM(spend_rest_picousd) / 1000000 DESC, SUM(spend_rest_picousd) % 1000000 DESC"
