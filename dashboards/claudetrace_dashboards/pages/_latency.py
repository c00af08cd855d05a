"""The latency page: how long answers took, from summed histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Part, Series, row_bar
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, card, cards, change, lines, link, table
from claudetrace_dashboards.pages._kpi import current
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope

DURATION, FIRST, SPEED = "duration_ms", "time_to_first_token_ms", "output_tokens_per_s"
PERCENTILES = (("p50", 3), ("p95", 2), ("p99", 0))
COMPARED = {DURATION: ("p95", "down"), FIRST: ("p95", "down"), SPEED: ("p50", "up")}
"""The percentile that a model is compared by, and which way is good: an answer's speed is slow where it is low."""
ABOUT = "Answers without an error, whole UTC days, within 2.2 %"
NO_STREAMS = "No streamed answer in this range."


def speed_text(tokens_per_s: float | None) -> str:
    return show.UNKNOWN if tokens_per_s is None else f"{tokens_per_s:,.{0 if tokens_per_s >= 100 else 1}f}/s"


TEXTS: dict[str, Callable[[Any], str]] = {DURATION: show.ms_text, FIRST: show.ms_text, SPEED: speed_text}


def _ask(query: str, kind: str, *, before: bool = False) -> Ask:
    return Ask(query, (lambda filters: filters.before()) if before else None, lambda _: {"kind": kind})


def _figures(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    took, first, speed = (current(answers[kind]) for kind in (DURATION, FIRST, SPEED))
    earlier = current(answers["before"])
    if not took:
        return None
    return cards(
        *(
            card(f"{name} duration", show.duration(took[name]), change(took[name], earlier.get(name), good="down"))
            for name, _ in PERCENTILES
        ),
        card("p50 to first token", show.duration(first.get("p50")), _streams(first)),
        card("p95 to first token", show.duration(first.get("p95"))),
        card("p50 output speed", f"{speed_text(speed.get('p50'))}", "output tokens a second"),
    )


def _streams(row: Row) -> str:
    return f"of {row['responses']:,} streams" if row else "no streams"


def _over_time(kind: str, summary: str) -> Callable[[Scope, Mapping[str, Answer]], Chart | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
        return lines(
            scope,
            answers["time"],
            [(Series(name=name, color=color), _value(name)) for name, color in PERCENTILES],
            summary=summary,
            text=TEXTS[kind],
            axis=_axis(kind),
            rows={"outcome": "ok"},
        )

    return draw


def _axis(kind: str) -> Callable[[float], str]:
    if kind == SPEED:
        return lambda value: f"{value:,.0f}/s"
    return lambda ms: f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:g} s"


def _value(name: str) -> Callable[[Row], float | None]:
    return lambda row: row[name]


def _by_model(kind: str, caption: str) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        rows = sorted(answers["model"].rows, key=lambda row: -row["responses"])
        if not rows:
            return None
        text, longest = TEXTS[kind], max(row["p95"] for row in rows)
        earlier = {row["model"]: row for row in answers["before"].rows}

        def bar(row: Row) -> Markup:
            return row_bar([Part(name="p95", color=scope.color(row["model"]), value=row["p95"], text=text(row["p95"]))],
                           longest)  # fmt: skip

        columns = (
            Column("Model", lambda row: link(scope.url("latency", scope.filters.but(model=row["model"])),
                                             show.model_text(row["model"])), wide=True),
            Column("p95", bar, minor=True),
            *(Column(name, _cell(name, text), number=True) for name, _ in PERCENTILES),
            Column(f"{COMPARED[kind][0]} change", lambda row: _change(kind, row, earlier.get(row["model"])),
                   number=True),
            Column("Answers", lambda row: show.count(row["responses"]), number=True, minor=True),
        )  # fmt: skip
        return table(caption, columns, rows, "percentiles")

    return draw


def _change(kind: str, row: Row, before: Row | None) -> Markup | str:
    """The change of the percentile that models are compared by; it bears what it was before."""
    name, good = COMPARED[kind]
    said = show.change_text(row[name], before[name] if before else None)
    if before is None or said is None:
        return "new"
    up = said.startswith(("+", "×"))
    css = "" if said.startswith("±") else "better" if (good == "up") == up else "worse"
    told = f"{name} in the same part of the period before: {TEXTS[kind](before[name])}, {before['responses']:,} answers"
    return Markup('<data value="{}" class="{}" title="{}">{}</data>').format(before[name], css, told, said)


def _cell(name: str, text: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: text(row[name])


def _panels(kind: str, name: str, title: str, empty: str) -> tuple[Panel, Panel]:
    return (
        Panel(
            name=f"{name}_over_time",
            title=f"{title} over time",
            about=ABOUT,
            width="half",
            asks={"time": _ask("latency_by_time", kind)},
            draw=_over_time(kind, title),
            empty=empty,
        ),
        Panel(
            name=f"{name}_by_model",
            title=f"{title} by model",
            about="Most answers first; change against the same part of the period before, each within 2.2 %",
            width="half",
            asks={"model": _ask("latency_by_model", kind), "before": _ask("latency_by_model", kind, before=True)},
            draw=_by_model(kind, f"{title} by model"),
            empty=empty,
        ),
    )


LATENCY = Page(
    name="latency",
    title="Latency",
    about="How long answers took, and how long until they began",
    panels=(
        Panel(
            name="latency_figures",
            title="Key figures",
            about=ABOUT,
            width="full",
            bare=True,
            asks={
                **{kind: _ask("latency_kpi", kind) for kind in (DURATION, FIRST, SPEED)},
                "before": _ask("latency_kpi", DURATION, before=True),
            },
            draw=_figures,
            empty="No answered call in this range.",
        ),
        *_panels(DURATION, "duration", "Duration", "No answered call in this range."),
        *_panels(FIRST, "first_token", "Time to first token", NO_STREAMS),
        *_panels(SPEED, "speed", "Output tokens a second", "No answered call in this range."),
    ),
)
