"""What one response costs: its usage × the rates of its plan, exact to the picodollar, with its flags."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._doubts import doubts_of, tells_counts
from claudetrace._guard import pass_on
from claudetrace._pricing._bill import Bill, Priced, in_order, leg_for
from claudetrace._pricing._iterations import Iterations, serving_model
from claudetrace._pricing._plan import plan_for
from claudetrace._usage import count_of, usage_columns

if TYPE_CHECKING:
    from claudetrace._pricing._terms import Terms

log = logging.getLogger("claudetrace")

LARGEST_PICOUSD = 2**63 - 1
"""The most that a row can hold: 9.2 million dollars."""


def price_response(
    usage: Mapping[str, Any] | None,
    columns: Mapping[str, Any],
    *,
    model: str | None,
    model_requested: str | None = None,
    stop_reason: str | None = None,
    day: str,
    terms: Terms,
    final: bool = True,
    extra_flags: tuple[str, ...] = (),
    any_size: bool = False,
) -> Priced:
    """The price of one response whose usage object is `usage` and fills `columns`. Never raises.

    A price that no row can hold is none, unless `any_size` is asked for.
    """
    if not final and usage is not None:
        extra_flags = ("partial_usage", *extra_flags)
    try:
        priced = _price(usage, columns, model, model_requested, stop_reason, day, terms, extra_flags)
    except Exception as error:
        pass_on(error)
        log.debug("claudetrace could not price a response", exc_info=error)
        return Priced(None, in_order(("unpriced_component", *extra_flags)))
    if priced.picousd is not None and priced.picousd > LARGEST_PICOUSD and not any_size:
        return Priced(None, in_order(("unpriced_component", *priced.flags)))
    return priced


def _price(
    usage: Mapping[str, Any] | None,
    columns: Mapping[str, Any],
    model: str | None,
    model_requested: str | None,
    stop_reason: str | None,
    day: str,
    terms: Terms,
    extra_flags: tuple[str, ...],
) -> Priced:
    if terms.free_host or terms.replayed:
        return _costs_nothing(terms, extra_flags)
    if usage is None:
        return Priced(None, in_order(("no_usage", *extra_flags)))
    iterations = _iterations_of(usage)
    doubts = doubts_of(usage, columns, final="partial_usage" not in extra_flags)
    if not (tells_counts(columns) or _any_tells_counts(iterations)):
        return Priced(None, in_order(("no_usage", *doubts, *extra_flags)))
    get = columns.get
    speed, tier, geo = get("speed"), get("service_tier"), get("inference_geo")
    served = model if iterations is None else serving_model(iterations) or model
    plan = plan_for(served, model_requested, day, terms, speed, tier, geo)
    if plan.leg is None:
        return Priced(None, in_order((*plan.flags, *doubts, *extra_flags)))
    bill = Bill(plan.flags)
    if stop_reason == "refusal" and terms.content_empty and plan.free_refusals:
        bill.flags += ("unbilled_refusal",)
    else:
        bill.leg = leg_for(plan, columns) or plan.leg
        bill.add_leg(bill.leg, columns)
        if searches := get("web_search_requests"):
            bill.add(plan.search, searches)
        bill.flags += doubts
        if get("input_tokens") is None or get("output_tokens") is None or (ran_code(usage) and not terms.free_code):
            bill.flags += ("unpriced_component",)
    if iterations is not None:
        rest = Iterations(bill, plan, columns, served, model_requested, day, terms)
        rest.add(iterations)
    return bill.priced(extra_flags)


def _costs_nothing(terms: Terms, extra_flags: tuple[str, ...]) -> Priced:
    """Exactly 0. A free host bills cut responses and abandoned attempts as little as others."""
    if terms.free_host:
        return Priced(0, ("free_host",), 0, [])
    return Priced(0, in_order(("replayed", *(flag for flag in extra_flags if flag != "partial_usage"))), 0, [])


def _iterations_of(usage: Mapping[str, Any]) -> list[Any] | None:
    iterations = usage.get("iterations")
    return iterations if isinstance(iterations, list) else None


def _any_tells_counts(iterations: list[Any] | None) -> bool:
    return any(tells_counts(usage_columns(entry)) for entry in iterations or ())


def ran_code(usage: Mapping[str, Any] | None) -> bool:
    """Whether code was executed. No response says how long its container ran."""
    tools = usage.get("server_tool_use") if usage else None
    if not isinstance(tools, Mapping):
        return False
    return bool(count_of(tools.get("code_execution_requests")))
