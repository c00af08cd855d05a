"""The cache page: what was read instead of paid, and what was written for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Part, Series, row_bar
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import (
    NONE,
    Column,
    axis_share,
    axis_usd,
    card,
    cards,
    lines,
    link,
    points_change,
    shortened,
    table,
    value_name,
)
from claudetrace_dashboards.pages._kpi import current, hit_rate
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from markupsafe import Markup

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope


def written(row: Row) -> int:
    """How many tokens were written to the cache."""
    return (row["cache_write_5m_tokens"] or 0) + (row["cache_write_1h_tokens"] or 0)


def _figures(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    now, before = current(answers["now"]), current(answers["before"])
    if not now.get("calls"):
        return None
    saved, spent = now["cache_saved_picousd"] or 0, now["spend_picousd"] or 0
    read, wrote = now["cache_read_tokens"] or 0, written(now)
    lacking = bool(now.get("too_low"))
    return cards(
        card("Hit rate", show.share_text(hit_rate(now)), points_change(hit_rate(now), hit_rate(before), good="up"),
             "of prompt tokens came from the cache"),
        card("Saved", show.usd(saved, 2), "reads less what writes cost extra",
             f"{show.share_text(saved, saved + spent)} off the plain price" if saved + spent > 0 else ""),
        card("Spent on writes", show.usd(now["cache_write_picousd"], 2, at_least=lacking), "part of the spend"),
        card("Tokens read", show.count(read, at_least=lacking)),
        card("Tokens written", show.count(wrote, at_least=lacking), _reads_a_write(read, wrote)),
    )  # fmt: skip


def _reads_a_write(read: int, wrote: int) -> str:
    return f"each was read {read / wrote:.1f} times" if wrote else "nothing was written"


def _rate(_: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return lines(
        _,
        answers["cache"],
        [(Series(name="Hit rate", color=3, area=True), hit_rate)],
        summary="Share of prompt tokens read from the cache",
        text=show.share_text,
        axis=axis_share,
        top=1.0,
    )


def _dollars(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return lines(
        scope,
        answers["cache"],
        [
            (
                Series(name="Saved, net", color=3, area=True),
                lambda row: (row["cache_saved_picousd"] or 0) / show.PICOUSD,
            ),
            (Series(name="Spent on writes", color=0), lambda row: (row["cache_write_picousd"] or 0) / show.PICOUSD),
        ],
        summary="What caching saved, and what writing to the cache cost",
        text=lambda usd: show.usd_text(None if usd is None else round(usd * show.PICOUSD)),
        axis=axis_usd,
    )


def _grouped(key: str, head: str) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        rows = [row for row in answers["cache"].rows if hit_rate(row) is not None]
        if not rows:
            return None

        def narrowed(value: str) -> str:
            changed: dict[str, Any] = {"tag": ("prompt", value)} if key == "value" else {key: value}
            return scope.url("cache", scope.filters.but(**changed))

        columns = (
            Column(head, lambda row: value_name(row, narrowed, key), wide=True),
            Column("Hit rate", lambda row: _rate_bar(row)),
            Column("%", lambda row: show.share_text(hit_rate(row)).removesuffix(" %"), number=True),
            Column("Saved", lambda row: show.usd(row["cache_saved_picousd"]), number=True),
        )
        return shortened(f"Cache by {head.lower()}", columns, rows, "ranking")

    return draw


def _rate_bar(row: Row) -> Markup:
    rate = hit_rate(row) or 0
    return row_bar([Part(name="Hit rate", color=3, value=rate, text=show.share_text(rate))], 1)


def _unread(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = sorted(answers["cache"].rows, key=lambda row: row["cache_saved_picousd"])
    if not rows:
        return None

    def calls(row: Row) -> Markup:
        filters = scope.filters.but(feature=row["feature"], model=row["model"])
        return link(scope.url("calls", filters, only="cache_writes"), row["feature"] or NONE)

    columns = (
        Column("Feature", calls, wide=True),
        Column("Model", lambda row: show.model_text(row["model"])),
        Column("Tokens written", lambda row: show.count(written(row)), number=True),
        Column("Tokens read", lambda row: show.count(row["cache_read_tokens"] or 0), number=True),
        Column("Spent on writes", lambda row: show.usd(row["cache_write_picousd"]), number=True),
        Column("Saved", lambda row: show.usd(row["cache_saved_picousd"]), number=True),
    )
    return table("Writes to the cache that were not read", columns, rows)


def _misses(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    columns = (
        Column("Cause", lambda row: row["reason"].replace("_", " "), wide=True),
        Column("Responses", lambda row: show.count(row["responses"]), number=True),
        Column("Tokens missed", lambda row: show.count(row["missed_tokens"]), number=True),
        Column("Lost", lambda row: show.usd(row["cache_lost_picousd"]), number=True),
    )
    rows = answers["misses"].rows
    return table("Why prompts were not read from the cache", columns, rows) if rows else None


CACHE = Page(
    name="cache",
    title="Cache",
    about="What was read instead of paid for, and what was written for nothing",
    panels=(
        Panel(
            name="cache_figures",
            title="Key figures",
            about="",
            width="full",
            bare=True,
            asks={"now": Ask("kpi"), "before": Ask("kpi", lambda filters: filters.before())},
            draw=_figures,
        ),
        Panel(
            name="cache_rate",
            title="Hit rate",
            about="Share of prompt tokens read from the cache",
            width="half",
            asks={"cache": Ask("cache_by_time")},
            draw=_rate,
        ),
        Panel(
            name="cache_dollars",
            title="Saved and spent",
            about="What reads saved less what writes cost extra, and what writes cost",
            width="half",
            asks={"cache": Ask("cache_by_time")},
            draw=_dollars,
        ),
        Panel(
            name="cache_by_feature",
            title="By feature",
            about="Most prompt tokens first",
            asks={"cache": Ask("cache_by_feature")},
            draw=_grouped("feature", "Feature"),
        ),
        Panel(
            name="cache_by_prompt",
            title="By prompt",
            about="The tag prompt",
            asks={"cache": Ask("cache_by_tag", also=lambda _: {"by": "prompt"})},
            draw=_grouped("value", "Prompt"),
            empty="No call in this range has the tag prompt.",
        ),
        Panel(
            name="cache_by_model",
            title="By model",
            about="Most prompt tokens first",
            asks={"cache": Ask("cache_by_model")},
            draw=_grouped("model", "Model"),
        ),
        Panel(
            name="cache_misses",
            title="Misses by cause",
            about="In Anthropic's own words: what the missed tokens cost more than reading them",
            width="full",
            asks={"misses": Ask("cache_misses")},
            draw=_misses,
            empty="No call in this range asked for the cause, by the parameter `diagnostics`, and missed the cache.",
        ),
        Panel(
            name="cache_unread",
            title="Writes that are not read",
            about="Fewer tokens read than written: some writes were for nothing, all where nothing was read",
            width="full",
            asks={"cache": Ask("cache_unread")},
            draw=_unread,
            empty="Every feature reads at least as much from the cache as it writes to it.",
        ),
    ),
)
