"""The messages of alerts: one sentence with its numbers, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import TYPE_CHECKING

from claudetrace._alerts._channel import one_line, percent_text
from claudetrace._call import exact_usd

if TYPE_CHECKING:
    from claudetrace._alerts._patterns import Loop, Spike
    from claudetrace._budgets._budget import Budget

CENT = Decimal("0.01")
# Whatever precision the application has set for its own sums.
ROUNDING = Context(prec=40, rounding=ROUND_HALF_UP)
LONGEST_NAME = 80


def money(usd: Decimal | None) -> str:
    """Dollars and cents; less than a cent with its first two digits."""
    if usd is None:
        return "an unknown sum"
    if usd == 0 or abs(usd) >= CENT:
        return f"${ROUNDING.quantize(usd, CENT):,f}"
    return f"${ROUNDING.quantize(usd, Decimal(1).scaleb(usd.adjusted() - 1)).normalize(ROUNDING):f}"


def named(text: str) -> str:
    """A name or a tag's value in quotes, on one line and cut if it is too long."""
    short = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return f'"{one_line(short)}"'


def whose(budget: Budget, key: str | None) -> str:
    """The budget, and the tag's value where each value has a budget."""
    of = f" of {budget.each_tag} {named(key)}" if key and budget.each_tag else ""
    return f"Budget {named(budget.name or 'run')}{of}"


def moment(at: datetime) -> str:
    """To the minute, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def spent_of(budget: Budget, spent_usd: Decimal, calls: int) -> str:
    """What was spent of what: dollars, calls, or both, as the budget limits them."""
    parts = []
    if budget.usd is not None:
        parts.append(f"{money(spent_usd)} of {money(budget.usd)}")
    if budget.max_calls is not None:
        parts.append(f"{calls:,} of {budget.max_calls:,} calls")
    return " and ".join(parts)


def threshold(
    budget: Budget, key: str | None, *, share: float, spent_usd: Decimal, calls: int, end: datetime | None
) -> str:
    """For a threshold that was reached. `end` is the end of a calendar window."""
    if share < 1:
        then = "look at what is spending, or raise its limit"
    elif not budget.blocks:
        then = 'calls go on: make it on_exceeded="block" to stop them, or raise its limit'
    else:
        then = "further calls are stopped: raise its limit, or wait"
    spent, until = spent_of(budget, spent_usd, calls), "" if end is None else f" until {moment(end)}"
    return f"{whose(budget, key)} has reached {percent_text(share)}, {spent}{until}: {then}."


def forecast(
    budget: Budget, key: str | None, *, spent: tuple[int, int], expected: tuple[int, int], end: datetime
) -> str:
    """For a budget that is on course to exceed its limit. Both are picodollars and calls."""
    to_come = []
    if budget.usd is not None:
        to_come.append(money(exact_usd(expected[0])))
    if budget.max_calls is not None:
        to_come.append(f"{expected[1]:,} calls")
    return (
        f"{whose(budget, key)} has spent {spent_of(budget, exact_usd(spent[0]), spent[1])}, and at this pace it comes "
        f"to {' and '.join(to_come)} by {moment(end)}: spend less, or raise its limit."
    )


def spike(budget: Budget, key: str | None, found: Spike) -> str:
    """For five minutes that cost many times the average."""
    times = f"{found.picousd / found.usual_picousd:.1f}"
    return (
        f"{whose(budget, key)} had {money(exact_usd(found.picousd))} spent within five minutes, {times} times the "
        f"usual {money(exact_usd(found.usual_picousd))}: see what began to spend, with claudetrace report --since 1h."
    )


def loop(found: Loop) -> str:
    """For a session that calls again and again."""
    return (
        f"The {found.kind} {named(found.name)} has made {found.calls:,} calls one after the other since "
        f"{moment(datetime.fromtimestamp(found.began, UTC))}, each reading more than the one before, for "
        f"{money(exact_usd(found.picousd))}: if it is a loop, stop it."
    )


def unpriced(budget: Budget | None, key: str | None, model: str | None) -> str:
    """For an answered call whose cost is unknown."""
    subject = "Calls" if budget is None else f"{whose(budget, key)} has calls that"
    verb = "of the model" if budget is None else "have no price, of the model"
    lack = " have no price and are in no total" if budget is None else ", and does not count what they cost"
    return (
        f"{subject} {verb} {named(model or 'unknown')}{lack}: upgrade claudetrace, or take a list that has it with "
        "claudetrace prices update, and run claudetrace reprice; rates= gives calls to come a price."
    )


def unbounded(budget: Budget, key: str | None, why: str) -> str:
    """For a call that a blocking budget let through without knowing its upper bound."""
    return (
        f"{whose(budget, key)} let a call through whose highest cost cannot be known ({one_line(why)[:200]}), with the "
        'best estimate reserved: such calls may pass the limit; unbounded="block" stops them.'
    )


def blocked(budget: Budget, key: str | None, calls: int, why: str, grant: str) -> str:
    """For calls that a budget has stopped: how many in its window, what the last of them was told, and, where more
    room helps, the command that gives it."""
    number = "a call" if calls == 1 else f"{calls:,} calls in its window, the last"
    way_out = f". For more room at once: {grant}" if "no room" in why else "."
    return f"{whose(budget, key)} has stopped {number} because it {one_line(why)}{way_out}"


def untagged(budget: Budget, calls: int) -> str:
    """For calls that a budget over each value of a tag does not see."""
    have = "a call of this process has" if calls == 1 else f"{calls:,} calls of this process have"
    return (
        f"{whose(budget, None)} is over each value of the tag {named(str(budget.each_tag))}, and {have} none, so it "
        'does not limit them: tag them with claudetrace.tag, or stop them with untagged="block".'
    )


def lost(rows: int) -> str:
    """For calls that this process could not record."""
    number = "1 call" if rows == 1 else f"{rows:,} calls"
    return (
        f"{number} of this process could not be recorded and are missing from the ledger and from budgets: see the log "
        "for the reason, and run claudetrace doctor."
    )
