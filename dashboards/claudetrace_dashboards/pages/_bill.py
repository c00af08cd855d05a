"""The page on the bill: the ledger beside Anthropic's own figures, the gap and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claudetrace._reconcile._judge import CAUSES
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Series
from claudetrace_dashboards._panel import Ask, Panel
from claudetrace_dashboards._pieces import NONE, Column, axis_usd, card, cards, lines, shortened, table
from claudetrace_dashboards.pages._page import Page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from claudetrace_dashboards._charts import Chart
    from claudetrace_dashboards._panel import Answer, Row, Scope

EMPTY = "Nothing was reconciled in this range: run `claudetrace reconcile`."
WORDS = {
    "unseen": "Calls that the ledger did not see",
    "unbilled": "In the ledger and not billed",
    "unpriced": "Calls in the ledger without a price",
    "misrated": "Rates that differ",
    "own_prices": "Own prices: the ledger's are no list prices there",
    "only_theirs": "Only Anthropic knows: code execution, session time",
    "priority": "Priority tier: in no report of cost",
}


def shared(row: Row) -> int:
    """Anthropic's list price of what both sides can know."""
    return int(row["our_picousd"]) + sum(int(row[f"{cause}_picousd"]) for cause in CAUSES if cause != "only_theirs")


def gap(rows: list[Row]) -> dict[str, int]:
    """What the gap is made of. Calls that the two sides have on different days are nobody's gap."""
    causes = {cause: sum(row[f"{cause}_picousd"] for row in rows) for cause in CAUSES}
    causes["unseen"] = sum(max(0, row["unseen_picousd"]) for row in rows)
    causes["unbilled"] = sum(min(0, row["unseen_picousd"]) for row in rows)
    return {cause: causes[cause] for cause in WORDS if causes[cause]}


def _figures(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = answers["bill"].rows
    if not rows:
        return None
    ours, listed, billed, theirs = (
        sum(row["our_picousd"] for row in rows),
        sum(row["list_picousd"] for row in rows),
        sum(row["billed_picousd"] for row in rows),
        sum(map(shared, rows)),
    )
    captured = theirs - gap(rows).get("unseen", 0)
    discount = f"{show.share_text(listed - billed, listed)} below the list price" if listed else ""
    last = max(row["reconciled_at"] for row in rows)
    return cards(
        card("Capture rate", show.share_text(captured, theirs), "of Anthropic's list price is of calls in the ledger"),
        card("Anthropic's list price", show.usd(listed, 2), rows[0]["scope"] or "the whole organization"),
        card("Ledger", show.usd(ours, 2), "the same days"),
        card("Gap", show.usd(sum(gap(rows).values()), 2), "Anthropic's less the ledger's"),
        card("Billed", show.usd(billed, 2), discount, f"{rows[0]['source']}, {last[:16].replace('T', ' ')} UTC"),
    )


def _days(scope: Scope, answers: Mapping[str, Answer]) -> Chart | None:
    return lines(
        scope,
        answers["bill"],
        [
            (Series(name="Ledger", color=0), lambda row: row["our_picousd"] / show.PICOUSD),
            (Series(name="Anthropic, list price", color=3), lambda row: row["list_picousd"] / show.PICOUSD),
        ],
        summary="The ledger beside Anthropic's list price",
        text=lambda usd: show.usd_text(None if usd is None else round(usd * show.PICOUSD)),
        axis=axis_usd,
    )


def _causes(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = [{"cause": WORDS[cause], "amount": amount} for cause, amount in gap(answers["bill"].rows).items()]
    columns = (
        Column("Cause", lambda row: row["cause"], wide=True),
        Column("Anthropic's more", lambda row: show.usd(row["amount"]), number=True),
    )
    return table("What the gap is made of", columns, rows) if rows else None


def _groups(_: Scope, answers: Mapping[str, Answer]) -> Markup | None:
    rows = [row for row in answers["bill"].rows if shared(row) or row["our_requests"]]
    columns = (
        Column("Model", lambda row: show.model_text(row["model"]) if row["model"] else "Web searches", wide=True),
        Column("Workspace", lambda row: row["workspace_id"] or NONE),
        Column("Tier", lambda row: row["service_tier"], minor=True),
        Column("Requests", lambda row: show.count(row["our_requests"]), number=True),
        Column("Anthropic's", lambda row: show.count(row["their_requests"]), number=True, minor=True),
        Column("Ledger", lambda row: show.usd(row["our_picousd"]), number=True),
        Column("Anthropic", lambda row: show.usd(shared(row)), number=True),
        Column("Captured", lambda row: _captured(row), number=True),
    )
    return shortened("By model and workspace", columns, rows, "ranking", most=20) if rows else None


def _captured(row: Row) -> str:
    return show.share_text(shared(row) - max(0, row["unseen_picousd"]), shared(row))


BILL = Page(
    name="bill",
    title="Bill",
    about="The ledger beside Anthropic's own figures, whole days; of the filters, only the model narrows it",
    panels=(
        Panel(
            name="bill_figures",
            title="Key figures",
            about="",
            width="full",
            bare=True,
            asks={"bill": Ask("bill_by_group")},
            draw=_figures,
            empty=EMPTY,
        ),
        Panel(
            name="bill_days",
            title="Day by day",
            about="What Anthropic charges at list price, and what the ledger has; the last days may lack some",
            width="half",
            asks={"bill": Ask("bill_by_time")},
            draw=_days,
            empty=EMPTY,
        ),
        Panel(
            name="bill_causes",
            title="The gap",
            about="What Anthropic's list price is more than the ledger's, by cause",
            width="half",
            asks={"bill": Ask("bill_by_group")},
            draw=_causes,
            empty="No gap.",
        ),
        Panel(
            name="bill_groups",
            title="By model and workspace",
            about="Most expensive first",
            width="full",
            asks={"bill": Ask("bill_by_group")},
            draw=_groups,
            empty=EMPTY,
        ),
    ),
)
