"""The reliability page: what failed, what was cut short, and how answers ended."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Part, Series, row_bar
from claudetrace_dashboards._colors import named_color
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, axis_count, axis_share, card, lines, link, stacked, table
from claudetrace_dashboards.pages._page import Page
from claudetrace_dashboards.pages._sessions import TOOL_LOOPS
from claudetrace_dashboards.pages._shares import FAILURES, SMALL, axis_percent, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope

STOP_COLORS: dict[str, int | str] = {
    "end_turn": "plain", "tool_use": 1, "stop_sequence": 8, "max_tokens": 2, "refusal": "bad",
    "pause_turn": 4, "model_context_window_exceeded": 9,
}  # fmt: skip
ERROR_COLORS: dict[str, int | str] = {
    "overloaded_error": 0, "rate_limit_error": 2, "api_error": 4, "timeout_error": 1, "connection_error": 5,
    "invalid_request_error": 7,
}  # fmt: skip
HEADROOM_COLORS = (1, 0, 3, 4, 5, 2)
TELLING_STOPS = ("max_tokens", "refusal", "model_context_window_exceeded")


def _color_of(table: Mapping[str, int | str]) -> Callable[[str], int | str]:
    """The colour of a reason; one that nobody knew of is striped."""
    return lambda reason: table[reason] if reason in table else named_color(reason) if reason else "none"


def _count(value: Any) -> str:
    return f"{value or 0:,}"


def _sums(answer: Answer, key: str, value: str = "responses") -> dict[str, int]:
    sums: dict[str, int] = defaultdict(int)
    for row in answer.rows:
        sums[row[key]] += row[value] or 0
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _cards(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    outcomes = _sums(answers["outcomes"], "outcome")
    if not outcomes:
        return None
    blocked = sum(_sums(answers["blocked"], "reason").values())
    total = sum(outcomes.values()) - blocked
    failed = outcomes.get("error", 0) - blocked
    stops = _sums(answers["stops"], "reason")
    retries = sum(row["retries"] or 0 for row in answers["outcomes"].rows)
    cut = outcomes.get("incomplete", 0) + outcomes.get("cancelled", 0)
    figures = (
        ("Failed", failed, f"{show.share_text(failed, total)} of {total:,} responses", {"outcome": "error"}),
        ("Retries", retries, "made by the SDK before an answer or a failure", None),
        ("Cut streams", cut, f"{outcomes.get('cancelled', 0):,} by the caller, {outcomes.get('incomplete', 0):,} broke",
         {"only": "cut"}),
        ("Stopped at max_tokens", stops.get("max_tokens", 0), "the answer is not whole", {"reason": "max_tokens"}),
        ("Refusals", stops.get("refusal", 0), "stop reason refusal", {"reason": "refusal"}),
        ("Stopped by a budget", blocked, "never sent, not in the error rate", {"reason": "BudgetExceeded"}),
    )  # fmt: skip
    return Markup('<div class="cards">{}</div>').format(
        Markup("").join(
            card(title, link(scope.url("calls", **rows), _data(number)) if rows and number else _data(number), note)
            for title, number, note, rows in figures
        )
    )


def _data(number: int) -> Markup:
    return show.count(number)


def _errors(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return stacked(
        scope,
        shares(answers["errors"], answers["outcomes"]),
        "reason",
        "share",
        summary="Failed calls and type of error",
        text=show.share_text,
        axis=axis_percent,
        colors=_color_of(ERROR_COLORS),
        none="unknown",
        rows={"outcome": "error"},
    )


def _stops(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return stacked(
        scope,
        shares(answers["stops"]),
        "reason",
        "share",
        summary="Answers and stop reason",
        text=show.share_text,
        axis=axis_percent,
        colors=_color_of(STOP_COLORS),
        none="none given",
        rows={"outcome": "ok"},
    )


def _reasons(query: str, outcome: str) -> Any:
    """How often each reason came, with its rows."""

    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        sums = _sums(answers[query], "reason")
        if not sums:
            return None
        most, total = max(sums.values()), sum(sums.values())
        colors = _color_of(ERROR_COLORS if query == "errors" else STOP_COLORS)

        def name(row: Row) -> Markup:
            text = row["reason"] or "none given"
            marked = Markup('<span class="{}">{}</span>').format(
                "worse" if row["reason"] in TELLING_STOPS else "", text
            )
            return link(scope.url("calls", reason=row["reason"], outcome=outcome), marked) if row["reason"] else marked

        def bar(row: Row) -> Markup:
            color = colors(row["reason"])
            return row_bar([Part(name=row["reason"], color=color, value=row["n"], text=_count(row["n"]))], most)

        columns = (
            Column("Reason", name, wide=True),
            Column("Share", bar),
            Column("%", lambda row: show.share_text(row["n"], total).removesuffix(" %"), number=True),
            Column("Responses", lambda row: _count(row["n"]), number=True),
        )
        rows = [{"reason": reason, "n": number} for reason, number in sums.items()]
        return table("Responses by reason", columns, rows, "ranking")

    return draw


def _cut(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    cut = answers["outcomes"]._replace(
        rows=[row for row in answers["outcomes"].rows if row["outcome"] in ("cancelled", "incomplete")]
    )
    return stacked(
        scope,
        cut,
        "outcome",
        "responses",
        summary="Streams that were not read to their end",
        text=_count,
        axis=axis_count,
        colors=lambda outcome: "bad" if outcome == "incomplete" else "plain",
        rows={"only": "cut"},
    )


def _retries(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    rows = [{**row, "what": "retries"} for row in answers["outcomes"].rows if row["retries"]]
    return stacked(
        scope,
        answers["outcomes"]._replace(rows=rows),
        "what",
        "retries",
        summary="Retries",
        text=_count,
        axis=axis_count,
        colors=lambda _: 2,
        rows={"only": "retried"},
    )


RELIABILITY_PANELS = (
    Panel(
        name="reliability_figures",
        title="Key figures",
        about="",
        width="full",
        bare=True,
        asks={"outcomes": Ask("outcomes"), "blocked": Ask("blocked_calls"), "stops": Ask("stop_reasons")},
        draw=_cards,
    ),
    Panel(
        name="errors_by_type",
        title="Failed calls over time",
        about="Share of responses by the type of error, after all retries",
        width="wide",
        asks={"errors": Ask("errors_by_type"), "outcomes": Ask("outcomes")},
        draw=_errors,
        empty="No call failed in this range.",
    ),
    Panel(
        name="error_types",
        title="Errors by type",
        about="Calls that a budget stopped are not errors",
        asks={"errors": Ask("errors_by_type")},
        draw=_reasons("errors", "error"),
        empty="No call failed in this range.",
    ),
    FAILURES,
    Panel(
        name="stop_reasons",
        title="How answers ended",
        about="Share of answers by stop reason",
        width="wide",
        asks={"stops": Ask("stop_reasons")},
        draw=_stops,
    ),
    Panel(
        name="stop_reason_shares",
        title="Stop reasons",
        about="max_tokens and refusal stand out",
        asks={"stops": Ask("stop_reasons")},
        draw=_reasons("stops", "ok"),
    ),
    *SMALL,
    Panel(
        name="retries",
        title="Retries",
        about="Further attempts, made by the SDK",
        asks={"outcomes": Ask("outcomes")},
        draw=_retries,
        empty="Nothing was tried again in this range.",
    ),
    Panel(
        name="cut_streams",
        title="Cut streams",
        about="Cancelled by the caller, or broken",
        asks={"outcomes": Ask("outcomes")},
        draw=_cut,
        empty="Every stream was read to its end.",
    ),
)


def _headroom(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    rows = answers["headroom"].rows
    names = sorted({row["rate_limit"] for row in rows})[: len(HEADROOM_COLORS)]
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        found[row["period"]][row["rate_limit"]] = row["least_headroom"]
    merged = answers["headroom"]._replace(rows=[{"period": period, "left": left} for period, left in found.items()])
    return lines(
        scope,
        merged,
        [
            (Series(name=name or "limit", color=color), _left_of(name))
            for name, color in zip(names, HEADROOM_COLORS, strict=False)
        ],
        summary="Least headroom of each rate limit",
        text=show.share_text,
        axis=axis_share,
        top=1.0,
    )


def _left_of(name: str) -> Callable[[Row], float | None]:
    return lambda row: row["left"].get(name)


RELIABILITY = Page(
    name="reliability",
    title="Reliability",
    about="What failed, was tried again or was cut short",
    panels=(
        *RELIABILITY_PANELS,
        Panel(
            name="headroom",
            title="Rate-limit headroom",
            about="What was left at the tightest moment",
            asks={"headroom": Ask("headroom")},
            draw=_headroom,
            empty="No answer told its rate limits.",
        ),
        TOOL_LOOPS,
    ),
)
