"""Every question that pages ask of the ledger's query layer, which `claudetrace report` and `export` ask too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace_dashboards.queries._periods import Changes, Statements
from claudetrace_dashboards.queries._readers import Headroom, Sums, Times

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace_dashboards.queries._readers import Reader, Row


def _inexact(row: Row) -> bool:
    return bool(row["unpriced_calls"] or row["lower_bound_calls"])


def _written(row: Row) -> int:
    return int(row["cache_write_5m_tokens"] + row["cache_write_1h_tokens"])


def _outcomes(keep: Callable[[Row], bool] | None = None) -> Sums:
    """By outcome and type of error: one question for all of what failed and how."""
    return Sums(by=("period", "outcome", "error_type"), named={"error_type": "reason"}, keep=keep)


def _is_error(row: Row) -> bool:
    return bool(row["outcome"] == "error" and row["reason"] != "BudgetExceeded")


BLOCKED = "BudgetExceeded"
UNREAD = (
    "Where fewer tokens were read from the cache than written to it: some writes were never read; all of them where "
    "nothing was."
)
OF_MODELS = Sums(by=("model",), most=200, with_writes=True)
OF_FEATURES = Sums(by=("feature",), most=200, with_writes=True)
QUESTIONS: dict[str, Reader] = {
    "change": Changes(),
    "statement": Statements(),
    "kpi": Sums(with_writes=True),
    "top_by_feature": Sums(by=("feature",), most=5),
    "top_by_tag": Sums(by=("tag",), most=5),
    "cost_by_time": Sums(by=("period", "model")),
    "cost_by_model": OF_MODELS,
    "cost_by_feature": OF_FEATURES,
    "cost_by_platform": Sums(by=("platform",), most=200),
    "cost_by_operation": Sums(by=("operation",), most=200),
    "cost_by_feature_and_model": Sums(by=("feature", "model"), most=1000, with_writes=True),
    "cost_by_tag": Sums(by=("tag",), most=50),
    "before_by_tag": Sums(by=("tag",), most=5000),
    "cost_by_service": Sums(by=("service",), most=50),
    "unpriced": Sums(by=("model", "feature", "platform"), sort="unpriced", most=100, keep=_inexact),
    "cache_by_time": Sums(by=("period",), with_writes=True),
    "cache_by_model": OF_MODELS,
    "cache_by_feature": OF_FEATURES,
    "cache_by_tag": Sums(by=("tag",), sort="tokens", most=50),
    "cache_unread": Sums(
        by=("feature", "model"), with_writes=True, note=UNREAD, most=100,
        keep=lambda row: _written(row) > row["cache_read_tokens"],
    ),
    "outcomes": _outcomes(),
    "errors_by_type": _outcomes(_is_error),
    "blocked_calls": _outcomes(lambda row: row["reason"] == BLOCKED),
    "stop_reasons": Sums(by=("period", "stop_reason"), where=(("outcome", "ok"),), named={"stop_reason": "reason"}),
    "kinds": Sums(by=("outcome", "stop_reason", "error_type")),
    "failures": Sums(
        by=("error_type", "model", "feature"), where=(("outcome", "error"), ("error_type!", BLOCKED)), sort="errors",
        most=50, named={"error_type": "reason"},
    ),
    "latency_kpi": Times(),
    "latency_by_time": Times(("period",)),
    "latency_by_model": Times(("model",)),
    "headroom": Headroom(),
}  # fmt: skip
"""Each question by its name."""
