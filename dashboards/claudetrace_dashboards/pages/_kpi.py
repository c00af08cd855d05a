"""The row of figures on top, each with its change against the period before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import card, cards, change, is_too_low, link, points_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace_dashboards._panel import Answer, Row, Scope

TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
PROMPT = TOKENS[:4]
LARGE_PICOUSD = 10_000 * show.PICOUSD
"""From which spend on cents tell nothing."""


def current(answer: Answer) -> Row:
    """The one row of a question of all calls; empty where there is none."""
    return answer.rows[0] if answer.rows else {}


def tokens(row: Row, names: tuple[str, ...] = TOKENS) -> int:
    return sum(row.get(name) or 0 for name in names)


def hit_rate(row: Row) -> float | None:
    """Which part of the prompts' tokens was read from the cache."""
    whole = tokens(row, PROMPT)
    return (row.get("cache_read_tokens") or 0) / whole if whole else None


def error_rate(row: Row) -> float | None:
    """Which part of the responses are failures; those that a budget stopped were never sent."""
    sent = (row.get("responses") or 0) - (row.get("blocked_calls") or 0)
    return (row.get("errors") or 0) / sent if sent > 0 else None


def bounds(scope: Scope, row: Row) -> Markup:
    """How many calls make the sum a lower bound; nothing where none does."""
    told = []
    if row.get("unpriced_calls"):
        told.append(f"{row['unpriced_calls']:,} unpriced")
    if row.get("lower_bound_calls"):
        told.append(f"{row['lower_bound_calls']:,} lower bounds")
    return link(scope.url("calls", only="inexact"), ", ".join(told)) if told else Markup("")


def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    now, before = current(answers["now"]), current(answers["before"])
    if not now.get("calls"):
        return None
    lacking = bool(now.get("too_low"))
    return cards(
        _spend(scope, now, before),
        card("Calls", show.count(now["calls"], at_least=lacking), change(now["calls"], before.get("calls")),
             f"{now['responses']:,} responses" if now["responses"] != now["calls"] else "", href=scope.url("calls")),
        card("Tokens", show.count(tokens(now), at_least=lacking), change(tokens(now), tokens(before)),
             href=scope.url("cost")),
        _saved(scope, now),
        card(
            "Cache hit rate", show.share_text(hit_rate(now)), points_change(hit_rate(now), hit_rate(before), good="up"),
            href=scope.url("cache"),
        ),
        card(
            "Error rate",
            show.share_text(error_rate(now)),
            points_change(error_rate(now), error_rate(before), good="down"),
            f"{now['retries'] or 0:,} retries",
            href=scope.url("reliability"),
        ),
        *_p95(scope, answers),
    )  # fmt: skip


def _spend(scope: Scope, now: Row, before: Row) -> Markup:
    spent = now["spend_picousd"] or 0
    inexact = is_too_low(now)
    digits = 2 if abs(spent) < LARGE_PICOUSD else None
    figure = show.usd(spent, digits, at_least=inexact)
    return card("Spend", figure, change(spent, before.get("spend_picousd"), good="down"), bounds(scope, now),
                href=scope.url("changed"))  # fmt: skip


def _saved(scope: Scope, now: Row) -> Markup:
    saved, spent = now["cache_saved_picousd"] or 0, now["spend_picousd"] or 0
    off = f"{show.share_text(saved, saved + spent)} off the plain price" if saved + spent > 0 else ""
    return card("Saved by caching", show.usd(saved, 2), off, href=scope.url("cache"))


def _p95(scope: Scope, answers: Mapping[str, Answer]) -> list[Markup]:
    """How long an answer takes at most, nineteen times of twenty."""
    took, earlier = current(answers["took"]), current(answers["took_before"])
    if not took:
        return []
    changed = change(took["p95"], earlier.get("p95"), good="down")
    return [card("p95 duration", show.duration(took["p95"]), changed, href=scope.url("latency"))]


KPI = Panel(
    name="kpi",
    title="Key figures",
    about="With the change against the same part of the period before",
    width="full",
    bare=True,
    asks={
        "now": Ask("kpi"),
        "before": Ask("kpi", lambda filters: filters.before()),
        "took": Ask("latency_kpi"),
        "took_before": Ask("latency_kpi", lambda filters: filters.before()),
    },
    draw=draw,
)
