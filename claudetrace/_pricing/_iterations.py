"""Prices `usage.iterations`: the entries that the top level leaves out, each at the rates of its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._doubts import doubts_of, has_unreadable, tells_counts
from claudetrace._pricing._bill import leg_for
from claudetrace._pricing._parts import ADVISOR, COMPACTION, DECLINED
from claudetrace._pricing._plan import plan_for
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    from claudetrace._pricing._bill import Bill
    from claudetrace._pricing._plan import Plan
    from claudetrace._pricing._terms import Terms

Entry: TypeAlias = Mapping[str, Any]

_EXECUTOR = ("message", "fallback_message")


def serving_model(iterations: list[Any]) -> str | None:
    """The model whose output was returned after a fallback. The message itself keeps the requested model's name."""
    for entry in reversed(iterations):
        if isinstance(entry, Mapping) and entry.get("type") == "fallback_message":
            return _model_of(entry)
    return None


class Iterations:
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
