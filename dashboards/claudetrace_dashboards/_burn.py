"""How far a budget is burnt, as a bar: spent, set aside, the limit, its thresholds and where its window is heading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from claudetrace_dashboards import _format as show

if TYPE_CHECKING:
    from claudetrace._budgets._status import BudgetState

HEIGHT = 18
FURTHEST = 1.6
"""How far beyond its limit a bar is drawn, as a share of the limit."""
MARK = Markup('<line class="mark{}" x1="{:.2f}%" x2="{:.2f}%" y1="{}" y2="{}"/>')
BLOCK = Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" y="4" height="10"/>')


def burn(state: BudgetState, *, of_calls: bool) -> Markup:
    """The bar of a budget's dollars, or of its calls."""
    ahead: float | None
    if of_calls:
        limit = float((state.max_calls or 0) + state.granted_calls)
        spent, aside = float(state.spent_calls), float(state.reserved_calls)
        ahead = None if state.forecast_calls is None else float(state.forecast_calls)
    else:
        limit = float((state.limit_usd or 0) + state.granted_usd)
        spent, aside = float(state.spent_usd), float(state.reserved_usd + state.held_usd)
        ahead = None if state.forecast_usd is None else float(state.forecast_usd)
    whole = min(max(limit, spent + aside, ahead or 0.0), limit * FURTHEST)

    def at(amount: float) -> float:
        return min(100.0, 100 * amount / whole)

    css = "s-bad" if spent >= limit else "s-plain"
    drawn = BLOCK.format("track", 0, at(limit)) + BLOCK.format(css, 0, at(spent))
    drawn += BLOCK.format(f"{css} aside", at(spent), at(spent + aside) - at(spent)) if aside else ""
    for threshold in state.budget.thresholds:
        if threshold != 1:
            drawn += MARK.format("", at(limit * threshold), at(limit * threshold), 5, 13)
    drawn += MARK.format(" limit", at(limit), at(limit), 0, HEIGHT)
    if ahead is not None:
        over = " over" if ahead > limit else ""
        drawn += Markup('<circle class="ahead{}" cx="{:.2f}%" cy="9" r="4"/>').format(over, min(at(ahead), 99.0))
    marks = ", ".join(f"{100 * each:g}" for each in state.budget.thresholds)
    tip = "\n".join([*_tip(state, of_calls=of_calls), *([f"Alerts at {marks} %"] if marks else [])])
    return Markup('<svg class="burn-bar" width="100%" height="{}" aria-hidden="true" data-tip="\n{}">{}</svg>').format(
        HEIGHT, tip, drawn
    )


def _tip(state: BudgetState, *, of_calls: bool) -> list[str]:
    """The figures of the bar, a line each."""
    if of_calls:
        said = {"spent": state.spent_calls, "set aside": state.reserved_calls, "left": state.left_calls,
                "at this pace": state.forecast_calls}  # fmt: skip
        return [f"\t{name}\t{amount:,}" for name, amount in said.items() if amount is not None]
    told = {"spent": state.spent_usd, "set aside": state.reserved_usd + state.held_usd, "left": state.left_usd,
            "at this pace": state.forecast_usd}  # fmt: skip
    return [
        f"\t{name}\t{show.usd_text(int(usd.scaleb(12)), 2 if usd >= 1 else None)}"
        for name, usd in told.items()
        if usd is not None
    ]
