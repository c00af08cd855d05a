"""A ranking: the values of a dimension with what they cost, a call, their share and their change; rest and total."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from claudetrace_dashboards import _format as show
from claudetrace_dashboards._charts import Part, row_bar
from claudetrace_dashboards._pieces import NONE, TOP, Column, is_too_low, shortened, spend, value_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace_dashboards._panel import Answer, Row, Scope

TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")
COMPACT = ("name", "bar", "change", "cost")
WHOLE = ("name", "bar", "share", "calls", "call", "tokens", "change", "cost")


def ranking(
    scope: Scope,
    answer: Answer,
    key: str,
    head: str,
    href: Callable[[str], str] | None,
    *,
    before: Answer | None = None,
    color: bool = False,
    split: Answer | None = None,
    shown: tuple[str, ...] = WHOLE,
    most: int = TOP,
) -> Markup | None:
    """The most expensive values of `key`; the rest behind “more”. `split` parts the bars by model, `before` are the
    same values in the period before."""
    if not any(row[key] for row in answer.rows):
        return None
    earlier = {(row[key], row["others"]): row["spend_picousd"] for row in before.rows} if before else {}
    whole = answer.total or {}
    columns = {
        "name": Column(head, lambda row: row.get("label") or value_name(row, href, key), wide=True),
        "bar": Column("", _bars(scope, answer, key, color=color, split=split), css="of-bar"),
        "share": Column("Share", lambda row: show.share_text(row["spend_picousd"], whole["spend_picousd"]),
                        number=True, minor=True),
        "calls": Column("Calls", lambda row: show.count(row["calls"]), number=True, minor=True),
        "call": Column("A call", per_call, number=True, minor=True),
        "tokens": Column("Tokens a call", tokens_per_call, number=True, minor=True),
        "change": Column("Change", lambda row: _change(row, key, earlier, before), number=True, css="of-change",
                         minor=True),
        "cost": Column("Cost", spend, number=True),
    }  # fmt: skip
    names = [name for name in shown if name != "change" or before is not None]
    foot = [{**answer.rest, "label": f"{answer.rest['rest']:,} others"}] if answer.rest else []
    total = {**whole, "label": "Total", "before": before.total if before else None}
    return shortened(
        f"Cost by {head.lower()}", [columns[name] for name in names], answer.rows, "ranking", most, [*foot, total]
    )


def per_call(row: Row) -> Markup:
    """What a call cost on average."""
    if not row["calls"]:
        return Markup("{}").format(show.UNKNOWN)
    return show.usd(round(Fraction(row["spend_picousd"], row["calls"])), at_least=is_too_low(row))


def tokens_per_call(row: Row) -> Markup:
    return show.count(round(sum(row[name] for name in TOKENS) / row["calls"])) if row["calls"] else Markup("–")


def _change(row: Row, key: str, earlier: dict[Any, int], before: Answer | None) -> str:
    if row.get("label"):
        total = row.get("before")
        return (show.change_text(row["spend_picousd"], total["spend_picousd"]) or "") if total else ""
    known = earlier.get((row[key], row["others"]))
    if known is None and before is not None and before.cut:
        return show.UNKNOWN
    return show.change_text(row["spend_picousd"], known) or ("new" if row["spend_picousd"] else "")


def _bars(scope: Scope, answer: Answer, key: str, *, color: bool, split: Answer | None) -> Callable[[Row], Markup]:
    longest = max((row["spend_picousd"] for row in answer.rows), default=0)
    total = (answer.total or {}).get("spend_picousd")

    def bar(row: Row) -> Markup:
        if row.get("label"):
            return Markup("")
        share = f"{show.usd_text(row['spend_picousd'])}, {show.share_text(row['spend_picousd'], total)}"
        parts = _parts_by_model(scope, split, key, row) if split else []
        name = row[key] or NONE
        whole = Part(name=name, color=scope.color(name) if color else "plain", value=row["spend_picousd"], text=share)
        return row_bar(parts or [whole], longest)

    return bar


def _parts_by_model(scope: Scope, split: Answer, key: str, whole: Row) -> list[Part]:
    """What each model costs of the calls with the value of `whole`, and what is left of them, so that the bar is as
    long as the figure beside it."""
    parts = [
        Part(
            name=row["model"] or "no model",
            color=scope.color(row["model"]),
            value=row["spend_picousd"] or 0,
            text=show.usd_text(row["spend_picousd"]),
        )
        for row in split.rows
        if row[key] == whole[key]
    ]
    left = (whole["spend_picousd"] or 0) - sum(int(part.value) for part in parts)
    if left > 0 and parts:
        parts.append(Part(name="further models", color="rest", value=left, text=show.usd_text(left)))
    return parts
