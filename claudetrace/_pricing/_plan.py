"""`Plan`: all that is the same for every response of one model, day and terms, worked out once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from claudetrace._pricing._ids import GOVCLOUD, read_id
from claudetrace._pricing._parts import RUNNING, SEARCHES, TOKENS
from claudetrace._pricing._rates import book
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
"""Whom GovCloud's factor is published for: Bedrock, which a plain client may call too."""
_WORLDWIDE = {None, "global", "not_available"}
_SPEEDS: Mapping[str | None, bool] = {None: False, "standard": False, "fast": True}
_TIERS = {None, "standard", "batch", "priority"}
_MOST_PLANS = 4096
_ONE = Fraction(1)


class Line:
    """One line of a bill without its quantity: a name, a rate, and both already as JSON."""

    __slots__ = ("head", "model", "name", "rate_picousd", "saves_picousd", "tail")

    def __init__(self, name: str, model: str | None, rate: Fraction, saves: Fraction | None = None) -> None:
        self.name = name
        self.model = model
        self.rate_picousd = whole(rate)
        self.saves_picousd = 0 if saves is None else whole(saves)
        """What a token of this class saves against plain input; below 0 where it costs more."""
        self.head = f'{{"name":{json.dumps(name)},"model":{json.dumps(model)},"quantity":'
        shown = self.rate_picousd if isinstance(self.rate_picousd, int) else f'"{self.rate_picousd}"'
        self.tail = f',"rate_picousd":{shown},"picousd":'


class Leg:
    """The lines of the five classes of tokens at one prompt size."""

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
    """Longest first: the leg of prompts of more tokens than the number."""
    search: Line
    flags: tuple[str, ...] = ()
    free_refusals: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """What decides a plan."""

    model: str | None
    model_requested: str | None = None
    day: str
    terms: Terms
    speed: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    own_rates: OwnRates | None = None
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
        plan = _plans[key] = make_plan(
            Terrain(
                model=model,
                model_requested=model_requested,
                day=day,
                terms=terms,
                speed=speed,
                service_tier=service_tier,
                inference_geo=inference_geo,
                own_rates=_own_rates_of(terms),
                prefix=prefix,
            )
        )
    return plan


def _own_rates_of(terms: Terms) -> OwnRates | None:
    if terms.own_rates is None:
        return None
    # Loaded only where there are own prices.
    from claudetrace._pricing._own import own_rates_of

    return own_rates_of(terms.own_rates)


def make_plan(terrain: Terrain) -> Plan:
    """The plan of `terrain`."""
    rates, terms, own = book(), terrain.terms, terrain.own_rates
    known = rates.ids if own is None else {**rates.ids, **own.ids}
    asked, served = read_id(terrain.model_requested, known), read_id(terrain.model, known)
    platform = _platform(terms, asked, served)
    # A Foundry deployment's name is its owner's choice, so only the answer tells the model.
    # Bedrock bills the id that was asked for, and its answers spell some models in ways of their own.
    other_spelling = platform == "bedrock" and served.model is None and not terrain.prefix
    if (terrain.model is None or other_spelling) and platform != "foundry":
        served = asked
    flags = _term_flags(terrain)
    search, charged_own = _search(own, terrain.day)
    rated = served.model if own is None or served.model is None else own.rated_as(served.model)
    found, custom = _rates_of(rated, terrain)
    if custom or charged_own:
        flags.append("custom_rates")
    if found is None or served.model is None:
        return Plan(search=search, flags=("unknown_model", *flags))
    flags += ["assumed_rates"] if rated != served.model else []
    factor, uncertain = _factor(rated or served.model, platform, asked, served, terrain)
    flags += ["endpoint_scope_unknown"] if uncertain else []
    found = found.times(factor)
    return Plan(
        model=served.model,
        leg=Leg(found.rates, served.model, terrain.prefix),
        tiers=tuple((above, Leg(tier, served.model, terrain.prefix)) for above, tier in found.tiers),
        search=search,
        flags=tuple(flags),
        free_refusals=terrain.day >= rates.free_refusals_from,
    )


def _platform(terms: Terms, asked: ModelId, served: ModelId) -> str:
    if terms.platform != "anthropic" or terms.told_platform:
        return terms.platform
    return asked.platform or served.platform or terms.platform


def _term_flags(terrain: Terrain) -> list[str]:
    flags = []
    if terrain.service_tier == "priority":
        flags.append("priority_commitment")
    if terrain.terms.billed_to == "user_profile":
        flags.append("billed_to_user_profile")
    if terrain.terms.contradictory:
        flags.append("contradictory_usage")
    if terrain.terms.code_execution or terrain.service_tier not in _TIERS or terrain.speed not in _SPEEDS:
        flags.append("unpriced_component")
    return flags


def _search(own: OwnRates | None, day: str) -> tuple[Line, bool]:
    """A web search's line, and whether own prices changed it. No multiplier of tokens applies to it."""
    discount = own.discount_on(day) if own else None
    rate = book().search_picousd * (_ONE if discount is None else 1 - discount)
    return Line(SEARCHES, None, rate), discount is not None


def _rates_of(model: str | None, terrain: Terrain) -> tuple[RateSet | None, bool]:
    """The rates of `model` before any geography, and whether they are own prices."""
    fast = _SPEEDS.get(terrain.speed)
    if model is None or fast is None:
        return None, False
    batch = terrain.terms.batch or terrain.service_tier == "batch"
    listed = book().find(model, terrain.day, fast=fast, batch=batch)
    if terrain.own_rates is None:
        return listed, False
    return terrain.own_rates.applied(model, listed, terrain.day, fast=fast, batch=batch)


def _factor(model: str, platform: str, asked: ModelId, served: ModelId, terrain: Terrain) -> tuple[Fraction, bool]:
    """What geography multiplies tokens by, and whether the response leaves it unknown."""
    row = book().models.get(model, {})
    terms = terrain.terms
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
    if terrain.inference_geo == "us":
        return book().geo_factor, False
    return _ONE, terrain.inference_geo not in _WORLDWIDE


def _scope(platform: str, asked: ModelId, served: ModelId, terms: Terms) -> str | None:
    """Where the endpoint is. All that GovCloud's endpoints serve is in GovCloud, whatever the id says."""
    from_ids = () if terms.told_platform and platform not in _SCOPED else (asked, served)
    told = [scope for each in (*from_ids, terms) if (scope := each.endpoint_scope) is not None]
    return GOVCLOUD if GOVCLOUD in told else next(iter(told), None)


def running_line(terms: Terms, day: str) -> Line:
    """The line of a session's running time, by the nanosecond, so that fractions of seconds stay exact."""
    own = _own_rates_of(terms)
    discount = own.discount_on(day) if own else None
    rate = book().running_hour_picousd / (3600 * 10**9) * (_ONE if discount is None else 1 - discount)
    return Line(RUNNING, None, rate)
