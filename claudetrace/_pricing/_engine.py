"""What one response costs: its usage × the rates of its plan, exact to the picodollar, with its flags."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._doubts import doubts_of, has_unreadable, tells_counts
from claudetrace._guard import pass_on
from claudetrace._pricing._bill import Bill, Priced, in_order, leg_for
from claudetrace._pricing._plan import plan_for
from claudetrace._pricing._rates import ADVISOR, COMPACTION, DECLINED
from claudetrace._usage import count_of, usage_columns

if TYPE_CHECKING:
    from claudetrace._pricing._plan import Plan
    from claudetrace._pricing._terms import Terms

log = logging.getLogger("claudetrace")

Entry: TypeAlias = Mapping[str, Any]

_EXECUTOR = ("message", "fallback_message")
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
    if not (tells_counts(columns) or any(tells_counts(usage_columns(entry)) for entry in iterations or ())):
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
        rest = _Iterations(bill, plan, columns, served, model_requested, day, terms)
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


def ran_code(usage: Mapping[str, Any] | None) -> bool:
    """Whether code was executed. No response says how long its container ran."""
    tools = usage.get("server_tool_use") if usage else None
    if not tools or not isinstance(tools, Mapping):
        return False
    return bool(count_of(tools.get("code_execution_requests")))


def serving_model(iterations: list[Any]) -> str | None:
    """The model whose output was returned after a fallback. The message itself keeps the requested model's name."""
    for entry in reversed(iterations):
        if isinstance(entry, Mapping) and entry.get("type") == "fallback_message":
            return _model_of(entry)
    return None


class _Iterations:
    """Adds to `bill` what the top level, which `plan` prices, leaves out."""

    def __init__(
        self,
        bill: Bill,
        plan: Plan,
        columns: Mapping[str, Any],
        served: str | None,
        asked: str | None,
        day: str,
        terms: Terms,
    ) -> None:
        self.bill = bill
        self.plan = plan
        self.columns = columns
        self.served = served
        # Only the requested id tells a Bedrock region, for every leg.
        self.asked = asked or served
        self.day = day
        self.terms = terms
        self.legs: list[tuple[str, str | None, Mapping[str, Any], str | None]] = []

    def add(self, entries: list[Any]) -> None:
        """Adds compactions, advisors and declined hops with output; executor turns are in the top level."""
        turns: list[Mapping[str, Any]] = []
        # A compaction belongs to the attempt that continues after it, so its model is the next one named.
        following = self.served
        for entry in reversed(entries):
            if not isinstance(entry, Mapping):
                continue
            kind, model = entry.get("type"), _model_of(entry)
            columns = usage_columns(entry)
            if kind in _EXECUTOR:
                if kind == "message" and model is not None and not self._serves(model):
                    following = model
                    self._add_declined(model, entry, columns)
                else:
                    following = self.served
                    turns.append(columns)
            elif kind == "compaction":
                self._add_unlisted(COMPACTION, model or following, entry, columns, self.columns.get("speed"))
            elif kind == "advisor_message":
                self._add_unlisted(ADVISOR, model, entry, columns, columns.get("speed"))
            elif columns or doubts_of(entry, columns):
                self._unpriced()
        if self.plan.tiers and self._straddles(turns):
            self._unpriced()
        for leg in reversed(self.legs):
            self._add_leg(*leg)

    def _serves(self, model: str) -> bool:
        return model == self.served or self._plan("", model, self.columns.get("speed")).model == self.plan.model

    def _add_unlisted(
        self, prefix: str, model: str | None, entry: Entry, columns: Mapping[str, Any], speed: str | None
    ) -> None:
        self.legs.append((prefix, model, columns, speed))
        self.bill.flags += doubts_of(entry, columns)
        if not tells_counts(columns):
            self._unpriced()

    def _add_declined(self, model: str, entry: Entry, columns: Mapping[str, Any]) -> None:
        if columns.get("output_tokens"):
            self._add_unlisted(DECLINED, model, entry, columns, self.columns.get("speed"))
        elif has_unreadable(entry):
            # Whether it is billed depends on its output.
            self._unpriced()
        else:
            self.bill.flags += ("unbilled_declined_hop",)

    def _add_leg(self, prefix: str, model: str | None, columns: Mapping[str, Any], speed: str | None) -> None:
        if not columns:
            return
        plan = None if model is None else self._plan(prefix, model, speed)
        leg = None if plan is None else leg_for(plan, columns)
        if plan is not None:
            self.bill.flags += plan.flags
        if leg is None:
            self._unpriced()
        else:
            self.bill.add_leg(leg, columns)

    def _plan(self, prefix: str, model: str, speed: str | None) -> Plan:
        tier, geo = self.columns.get("service_tier"), self.columns.get("inference_geo")
        plan = plan_for(model, self.asked, self.day, self.terms, speed, tier, geo, prefix)
        if plan.leg is None and speed == "fast":
            # A model without fast rates cannot have run fast.
            return plan_for(model, self.asked, self.day, self.terms, None, tier, geo, prefix)
        return plan

    def _straddles(self, turns: list[Mapping[str, Any]]) -> bool:
        """Whether only the sum of the turns is a long prompt. Which of the two decides the tier is not published."""
        long = leg_for(self.plan, self.columns)
        return len(turns) > 1 and any(leg_for(self.plan, turn) is not long for turn in turns)

    def _unpriced(self) -> None:
        self.bill.flags += ("unpriced_component",)


def _model_of(entry: Entry) -> str | None:
    model = entry.get("model")
    return model if isinstance(model, str) and model else None
