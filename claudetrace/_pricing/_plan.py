"""`Plan`: how to price the responses of one model, day and terms, worked out once and cached."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._pricing._ids import GOVCLOUD, read_id
from claudetrace._pricing._rates import RUNNING, SEARCHES, TOKENS, book
from claudetrace._pricing._terms import PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._pricing._ids import ModelId
    from claudetrace._pricing._own import OwnRates
    from claudetrace._pricing._rates import ClassRates, RateSet
    from claudetrace._pricing._terms import Terms

_SCOPED = {"bedrock", "vertex", "google_cloud"}
"""Platforms whose price depends on the endpoint, not on `inference_geo`."""
_IN_GOVCLOUD = {"anthropic", "bedrock"}
"""Platforms for which GovCloud's factor is published: Bedrock, which a plain client may call too."""
_WORLDWIDE = {None, "global", "not_available"}
_SPEEDS: Mapping[str | None, bool] = {None: False, "standard": False, "fast": True}
_TIERS = {None, "standard", "batch", "priority"}
_MOST_PLANS = 4096
_ONE = Fraction(1)


class Line:
    """One line of a bill without its quantity: a name, a rate, and the JSON around quantity and amount."""

    __slots__ = ("json_prefix", "json_suffix", "model", "name", "rate_picousd", "saves_picousd")

    def __init__(self, name: str, model: str | None, rate: Fraction, saves: Fraction | None = None) -> None:
        self.name = name
        self.model = model
        self.rate_picousd = whole(rate)
        self.saves_picousd = 0 if saves is None else whole(saves)
        """What a token of this class saves against plain input; below 0 where it costs more."""
        self.json_prefix = f'{{"name":{json.dumps(name)},"model":{json.dumps(model)},"quantity":'
        shown = self.rate_picousd if isinstance(self.rate_picousd, int) else f'"{self.rate_picousd}"'
        self.json_suffix = f',"rate_picousd":{shown},"picousd":'


class Leg:
    """The lines of the five classes of tokens, for one size of prompt."""

    __slots__ = ("lines",)

    def __init__(self, rates: ClassRates, model: str, prefix: str) -> None:
        plain = rates["input"]
        self.lines = tuple(
            (name, Line(prefix + name, model, rates[rate], plain - rates[rate] if cached else None))
            for rate, name, cached in TOKENS
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to price a response. Without a `leg` there is no rate, so no price."""

    model: str | None = None
    leg: Leg | None = None
    tiers: tuple[tuple[int, Leg], ...] = ()
    """Longest first: the leg for prompts of more tokens than the number."""
    search: Line
    flags: tuple[str, ...] = ()
    free_refusals: bool = False


class Case(NamedTuple):
    """What decides a plan."""

    model: str | None
    model_requested: str | None
    day: str
    terms: Terms
    speed: str | None
    service_tier: str | None
    inference_geo: str | None
    prefix: str = ""


def whole(amount: Fraction) -> int | Fraction:
    """`amount`, as an `int` where it is whole: integers multiply thirty times faster."""
    return amount.numerator if amount.denominator == 1 else amount


_plans: dict[Any, Plan] = {}


def plan_for(
    model: str | None,
    model_requested: str | None,
    day: str,
    terms: Terms,
    speed: str | None,
    service_tier: str | None,
    inference_geo: str | None,
    prefix: str = "",
) -> Plan:
    """The plan of these facts, from a bounded cache."""
    key = (model, day, terms.text, speed, service_tier, inference_geo, model_requested, prefix)
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[key] = _make_plan(
            Case(model, model_requested, day, terms, speed, service_tier, inference_geo, prefix)
        )
    return plan


def _own_rates_of(terms: Terms) -> OwnRates | None:
    if terms.own_rates is None:
        return None
    # Loaded only if there are own rates.
    from claudetrace._pricing._own import own_rates_of

    return own_rates_of(terms.own_rates)


def _make_plan(case: Case) -> Plan:
    rates, terms, own = book(), case.terms, _own_rates_of(case.terms)
    known = rates.ids if own is None else {**rates.ids, **own.ids}
    asked, served = read_id(case.model_requested, known), read_id(case.model, known)
    platform = _platform(terms, asked, served)
    # A Foundry deployment's name is its owner's choice, so only the answer tells the model.
    # Bedrock bills the id that was asked for, and spells some models differently in its answers.
    other_spelling = platform == "bedrock" and served.model is None and not case.prefix
    if (case.model is None or other_spelling) and platform != "foundry":
        served = asked
    flags = _term_flags(case)
    search, charged_own = _search(own, case.day)
    rated = served.model if own is None or served.model is None else own.rated_as(served.model)
    found, custom = _rates_of(rated, case, own)
    if custom or charged_own:
        flags.append("custom_rates")
    if found is None or served.model is None:
        return Plan(search=search, flags=("unknown_model", *flags))
    flags += ["assumed_rates"] if rated != served.model else []
    factor, uncertain = _factor(rated or served.model, platform, asked, served, case)
    flags += ["endpoint_scope_unknown"] if uncertain else []
    found = found.times(factor)
    return Plan(
        model=served.model,
        leg=Leg(found.rates, served.model, case.prefix),
        tiers=tuple((above, Leg(tier, served.model, case.prefix)) for above, tier in found.tiers),
        search=search,
        flags=tuple(flags),
        free_refusals=case.day >= rates.free_refusals_from,
    )


def _platform(terms: Terms, asked: ModelId, served: ModelId) -> str:
    if terms.platform != "anthropic" or terms.told_platform:
        return terms.platform
    return asked.platform or served.platform or terms.platform


def _term_flags(case: Case) -> list[str]:
    flags = []
    if case.service_tier == "priority":
        flags.append("priority_commitment")
    if case.terms.billed_to == "user_profile":
        flags.append("billed_to_user_profile")
    if case.terms.contradictory:
        flags.append("contradictory_usage")
    if case.terms.code_execution or case.service_tier not in _TIERS or case.speed not in _SPEEDS:
        flags.append("unpriced_component")
    return flags


def _search(own: OwnRates | None, day: str) -> tuple[Line, bool]:
    """The line of web searches, and whether own rates changed it. Factors for tokens do not apply to it."""
    discount = own.discount_on(day) if own else None
    rate = book().search_picousd * (_ONE if discount is None else 1 - discount)
    return Line(SEARCHES, None, rate), discount is not None


def _rates_of(model: str | None, case: Case, own: OwnRates | None) -> tuple[RateSet | None, bool]:
    """The rates of `model` before geography is applied, and whether they are own rates."""
    fast = _SPEEDS.get(case.speed)
    if model is None or fast is None:
        return None, False
    batch = case.terms.batch or case.service_tier == "batch"
    listed = book().find(model, case.day, fast=fast, batch=batch)
    return (listed, False) if own is None else own.applied(model, listed, case.day, fast=fast, batch=batch)


def _factor(model: str, platform: str, asked: ModelId, served: ModelId, case: Case) -> tuple[Fraction, bool]:
    """The factor that geography puts on tokens, and whether the response leaves it unknown."""
    row = book().models.get(model, {})
    terms = case.terms
    scope = _scope(platform, asked, served, terms)
    if scope == GOVCLOUD:
        return (book().govcloud_factor, False) if platform in _IN_GOVCLOUD else (_ONE, True)
    if platform in _SCOPED or platform not in PLATFORMS:
        if not row.get("cloud_regional_premium_1_1", True):
            return _ONE, False
        if platform not in PLATFORMS or scope not in ("global", "regional"):
            return _ONE, True
        return (book().regional_factor if scope == "regional" else _ONE), False
    if platform == "foundry" and terms.data_zone is not None:
        return (book().geo_factor, False) if terms.data_zone == "us" else (_ONE, True)
    if not row.get("supports_inference_geo", True):
        return _ONE, False
    if case.inference_geo == "us":
        return book().geo_factor, False
    return _ONE, case.inference_geo not in _WORLDWIDE


def _scope(platform: str, asked: ModelId, served: ModelId, terms: Terms) -> str | None:
    """The endpoint's scope. What an endpoint in GovCloud serves is in GovCloud, whatever the id says."""
    from_ids = () if terms.told_platform and platform not in _SCOPED else (asked, served)
    told = [scope for each in (*from_ids, terms) if (scope := each.endpoint_scope) is not None]
    return GOVCLOUD if GOVCLOUD in told else next(iter(told), None)


def running_line(terms: Terms, day: str) -> Line:
    """The line of a session's running time, in nanoseconds, so that fractions of seconds stay exact."""
    own = _own_rates_of(terms)
    discount = own.discount_on(day) if own else None
    rate = book().running_hour_picousd / (3600 * 10**9) * (_ONE if discount is None else 1 - discount)
    return Line(RUNNING, None, rate)
