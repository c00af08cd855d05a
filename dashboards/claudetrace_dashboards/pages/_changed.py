"""What changed: two periods side by side, the difference in dollars by whom and by what."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace._ledger._compare import CAUSES
from claudetrace._ledger._times import Span
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Part, row_bar
from claudetrace_dashboards._filters import Filters
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import Column, link, table, value_name
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace_dashboards._panel import Answer, Row, Scope

DAY = timedelta(days=1)
AGAINST = {"": "The period before", "week": "A week earlier", "month": "Four weeks earlier"}
SHIFTS = {"week": 7 * DAY, "month": 28 * DAY}
WORDS = {
    "volume": ("Volume", "more or fewer calls"),
    "tokens": ("Tokens a call", "longer or shorter ones"),
    "price": ("Price", "another model, tier or rate"),
    "cache": ("Cache", "what caching saved less or more"),
}
SHOWN = 8


def earlier(scope: Scope) -> Filters:
    """The period that the range is held against: what the URL says, else as long a one before."""
    filters, arguments = scope.filters, scope.arguments
    if arguments.get("vs_from"):
        days = {"range": "custom", "from": arguments["vs_from"], "to": arguments.get("vs_to") or arguments["vs_from"]}
        found = Filters.read(days, filters.now)
        if not found.problems:
            return filters.within(found.since, found.until)
    shift = SHIFTS.get(arguments.get("against", ""))
    if shift is None:
        return filters.before()
    return filters.within(filters.since - shift, min(filters.until, filters.reached) - shift)


def _ask(by: str) -> Ask:
    def also(scope: Scope) -> Mapping[str, Any]:
        before = earlier(scope)
        return {"by": by, "before": Span(before.since, before.until)}

    return Ask("change", also=also)


def signed(picousd: int) -> Markup:
    """A change in dollars with its sign; more is worse."""
    css = "worse" if picousd > 0 else "better" if picousd < 0 else ""
    return Markup('<span class="{}">{}{}</span>').format(css, "+" if picousd > 0 else "", show.usd(picousd))


def _kept(scope: Scope) -> dict[str, str]:
    """What the URL says of the period that is compared with."""
    return {name: scope.arguments[name] for name in ("against", "vs_from", "vs_to") if scope.arguments.get(name)}


def _summary(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    total = answers["change"].total
    if total is None or not (total["calls"] or total["calls_before"]):
        return None
    before, now = total["before_picousd"], total["spend_picousd"]
    then = earlier(scope)
    longest = max(before, now, *_levels(total, before)) or 1
    rows: list[Row] = [{"name": link(scope.url("calls", then), "Before"), "about": then.text(), "from": 0,
                        "picousd": before, "color": "plain", "text": show.usd(before)}]  # fmt: skip
    at = before
    for cause in CAUSES:
        amount = total[f"{cause}_picousd"]
        name, about = WORDS[cause]
        rows.append({"name": name, "about": about, "from": min(at, at + amount), "picousd": abs(amount),
                     "color": "bad" if amount > 0 else "good", "text": signed(amount)})  # fmt: skip
        at += amount
    rows.append({"name": link(scope.url("calls"), "Now"), "about": scope.filters.text(), "from": 0, "picousd": now,
                 "color": 0, "text": show.usd(now)})  # fmt: skip

    def bar(row: Row) -> Markup:
        text = show.usd_text(row["picousd"])
        part = Part(name=str(row["about"]), color=row["color"], value=row["picousd"], text=text)
        return row_bar([part], longest, start=row["from"])

    columns = (
        Column("", lambda row: Markup('{}<span class="under">{}</span>').format(row["name"], row["about"]), css="name"),
        Column("", bar, css="of-bar"),
        Column("Dollars", lambda row: row["text"], number=True),
    )
    return _against(scope) + _sentence(total) + table("From before to now", columns, rows, "steps")


def _levels(total: Row, at: int) -> list[int]:
    levels = []
    for cause in CAUSES:
        at += total[f"{cause}_picousd"]
        levels.append(at)
    return levels


def _against(scope: Scope) -> Markup:
    """What it can be compared with."""
    kept = _kept(scope)
    pills = Markup("").join(
        Markup('<a href="{}"{}>{}</a>').format(
            scope.url("changed", against=name, vs_from="", vs_to=""),
            Markup(' aria-current="true"') if "vs_from" not in kept and kept.get("against", "") == name else "", words,
        )
        for name, words in AGAINST.items()
    )  # fmt: skip
    hidden = Markup("").join(
        Markup('<input type="hidden" name="{}" value="{}">').format(*pair)
        for pair in [*scope.filters.arguments(), *scope.named().items()]
    )
    then = earlier(scope)
    form = Markup(
        '<form method="get" class="against" action="{}">{}<label>From <input type="date" name="vs_from" value="{}">'
        '</label><label>to <input type="date" name="vs_to" value="{}"></label><button>Compare</button></form>'
    ).format(scope.datasette.urls.path("/-/claudetrace/changed"), hidden, then.first_day(), then.last_day())
    return Markup('<div class="pills" role="group" aria-label="Compared with">{}{}</div>').format(pills, form)


def _sentence(total: Row) -> Markup:
    change = total["change_picousd"]
    percent = show.change_text(total["spend_picousd"], total["before_picousd"])
    word = "more" if change > 0 else "less"
    largest = max(CAUSES, key=lambda cause: abs(total[f"{cause}_picousd"]))
    most = signed(total[f"{largest}_picousd"])
    told = Markup('<p class="figure">{}{}</p><p class="about">{} calls, {} before. Most of it: {}, {}.</p>').format(
        show.usd(abs(change), 2), f" {word}" if change else " of change", f"{total['calls']:,}",
        f"{total['calls_before']:,}", WORDS[largest][1], most,
    )  # fmt: skip
    return Markup('<div class="sentence">{}{}</div>').format(
        told, Markup('<p class="about">{} against before.</p>').format(percent) if percent else ""
    )


def _by(by: str, head: str) -> Callable[[Scope, Mapping[str, Answer]], Markup | None]:
    def draw(scope: Scope, answers: Mapping[str, Answer]) -> Markup | None:
        found = answers["change"]
        if not any(row["value"] for row in found.rows):
            return None

        def narrowed(value: str) -> str:
            changes: dict[str, Any] = {by: value} if by in ("model", "feature", "user") else {"tag": (by, value)}
            return scope.url("changed", scope.filters.but(**changes))

        foot = [{**found.rest, "label": f"{found.rest['rest']:,} others"}] if found.rest else []
        foot.append({**(found.total or {}), "label": "Total"})
        columns = (
            Column(head, lambda row: row.get("label") or value_name(row, narrowed), wide=True),
            Column("Before", lambda row: show.usd(row["before_picousd"]), number=True, minor=True),
            Column("Now", lambda row: show.usd(row["spend_picousd"]), number=True, minor=True),
            *(Column(WORDS[cause][0], _cause(cause), number=True, minor=True) for cause in CAUSES),
            Column("Change", lambda row: signed(row["change_picousd"]), number=True),
        )
        return table(f"Change by {head.lower()}", columns, found.rows, "ranking", foot=foot, most=SHOWN)

    return draw


def _cause(cause: str) -> Callable[[Row], Markup]:
    return lambda row: signed(row[f"{cause}_picousd"])


def _panel(by: str, empty: str = "No calls in either period.") -> Panel:
    return Panel(
        name=f"change_by_{by}",
        title=f"By {by}",
        about="The largest change first; each row is split by its own calls, and its name leads to its own page",
        width="full",
        asks={"change": _ask(by)},
        draw=_by(by, by.capitalize()),
        empty=empty,
    )


CHANGED = Page(
    name="changed",
    title="What changed",
    about="The range against another period: in dollars, and why",
    panels=(
        Panel(
            name="change",
            title="From before to now",
            about="The causes add up to the change exactly",
            width="full",
            asks={"change": _ask("")},
            draw=_summary,
            empty="No calls in either period.",
        ),
        _panel("model"),
        _panel("feature", "No call in either period has a feature."),
        _panel("customer", "No call in either period has the tag customer."),
        _panel("user", "No call in either period has the tag user."),
        _panel("prompt", "No call in either period has the tag prompt."),
    ),
)
