"""`price`: what a message, a batch's result or a session costs, without a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from claudetrace._content import Content
from claudetrace._doubts import doubts_of
from claudetrace._pricing._bill import Bill, Priced, in_order, leg_for
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._plan import Line, plan_for, running_line
from claudetrace._pricing._rates import LIST_COST
from claudetrace._pricing._terms import Terms, checked_words
from claudetrace._usage import usage_columns

if TYPE_CHECKING:
    from claudetrace._call import Cost
    from claudetrace._pricing._terms import Platform

_CENT_PICOUSD = 10**10
_NS_PER_S = 10**9


def price(
    message: Any,
    *,
    at: datetime | None = None,
    batch: bool = False,
    platform: Platform | None = None,
    endpoint_scope: Literal["global", "regional", "us-gov"] | None = None,
    data_zone: Literal["us"] | None = None,
    billed_to: Literal["user_profile"] | None = None,
) -> Cost:
    """What `message` cost: exact, or `None` with the reason among its `flags`. Needs no ledger and no network.

    cost = claudetrace.price(client.messages.create(...))
    print(cost.usd, cost.flags)

    message: an SDK message, batch result or managed-agents session, or its JSON as a dict.
    at: the day whose rates apply, in UTC. Default: now.
    batch: whether it came from a batch, which costs half. Default: what the message says.
    platform: who bills the call. Default: what the model id says, else `"anthropic"`.
    endpoint_scope: which endpoint answered, where the model id does not say it, as on Google Cloud.
    data_zone: `"us"` for a deployment in Foundry's US Data Zone.
    billed_to: `"user_profile"` if another organization pays.

    Raises `ClaudetraceError` for a keyword with an unknown value.
    """
    words = checked_words(platform=platform, endpoint_scope=endpoint_scope, data_zone=data_zone, billed_to=billed_to)
    return priced_object(message, day_of(at), Terms(batch=bool(batch), **words)).cost()


def priced_object(message: Any, day: str, terms: Terms) -> Priced:
    """The price of `message` on `day`. Never raises, whatever `message` is."""
    facts = plain(message)
    if isinstance(result := facts.get("result"), Mapping):
        # A line of a batch's results: without a message it was not billed.
        facts = _mapping(result.get("message"))
        terms = replace(terms, batch=True)
    usage = facts.get("usage")
    if not isinstance(usage, Mapping):
        return _without_usage(facts, terms)
    if facts.get("type") == "session":
        return _session(facts, usage, day, terms)
    content, columns = Content(facts.get("content")), usage_columns(usage)
    return price_response(
        usage,
        columns,
        model=_text(facts.get("model")),
        stop_reason=_text(facts.get("stop_reason")),
        day=day,
        terms=replace(
            terms,
            content_empty=content.is_empty(columns.get("output_tokens")),
            code_execution=content.ran_code and not content.frees_code,
            free_code=content.frees_code,
        ),
        any_size=True,
    )


def day_of(at: Any) -> str:
    """The UTC day of `at`, or of now; a time without a zone is UTC."""
    if at is None:
        at = datetime.now(UTC)
    if isinstance(at, datetime):
        # The first and the last day of the calendar have no neighbour to move to.
        zoned = at.tzinfo is not None and 1 < at.year < 9999
        at = (at.astimezone(UTC) if zoned else at).date()
    return at.isoformat() if isinstance(at, date) else str(at)[:10]


def _without_usage(facts: Mapping[str, Any], terms: Terms) -> Priced:
    counted = type(facts.get("input_tokens")) is int and "model" not in facts
    if counted or facts.get("type") == "count_tokens":
        return Bill(()).priced()
    # An item of a batch without a message is not billed. Elsewhere, a cost without usage is unknown.
    return Bill(("no_usage",)).priced() if terms.batch else Priced(None, ("no_usage",))


def _session(facts: Mapping[str, Any], usage: Mapping[str, Any], day: str, terms: Terms) -> Priced:
    """The price of a session: its own list cost if it has one, else tokens, searches and running time."""
    agent = _mapping(facts.get("agent"))
    configured = _mapping(agent.get("model"))
    places = (usage, facts, _mapping(facts.get("request")), agent, configured)
    speed, geo = _first(places, "speed"), _first(places, "inference_geo")
    cents = _list_cents(usage.get("list_cost"))
    model = _text(facts.get("model")) or _text(configured.get("id")) or _text(agent.get("model"))
    plan = plan_for(model, None, day, replace(terms, batch=False), speed, None, geo)
    if cents is not None:
        told = [flag for flag in plan.flags if flag == "billed_to_user_profile"]
        bill = Bill(("rounded_list_cost", *told))
        bill.add(Line(LIST_COST, None, Fraction(_CENT_PICOUSD)), cents)
        return bill.priced()
    if plan.leg is None:
        return Priced(None, in_order(plan.flags))
    columns = usage_columns(usage)
    bill = Bill(plan.flags)
    bill.add_leg(plan.leg, columns)
    if searches := columns.get("web_search_requests"):
        bill.add(plan.search, searches)
    running_ns = _running_ns(usage.get("active_seconds"))
    if running_ns:
        bill.add(running_line(terms, day), running_ns)
    bill.flags += doubts_of(usage, columns)
    # A session's counts are sums over its requests: nothing tells how long each prompt was.
    if running_ns is None or leg_for(plan, columns) is not plan.leg:
        bill.flags += ("unpriced_component",)
    return bill.priced()


def _list_cents(amount: Any) -> int | None:
    amount = _mapping(amount)
    cents = amount.get("amount")
    if amount.get("currency") != "USD" or not isinstance(cents, str) or len(cents) > 18:
        return None
    return int(cents) if cents.isascii() and cents.isdigit() else None


def _running_ns(seconds: Any) -> int | None:
    """`seconds` in nanoseconds, read from its text so that 90.1 stays 90.1."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not 0 <= seconds <= _NS_PER_S:
        return None
    return round(Fraction(str(seconds)) * _NS_PER_S)


def plain(message: Any) -> Mapping[str, Any]:
    """`message` as the mapping of its JSON; empty for what has none."""
    if isinstance(message, Mapping):
        usage = message.get("usage")
        return message if usage is None or isinstance(usage, Mapping) else {**message, "usage": plain(usage)}
    dump = getattr(message, "model_dump", None)
    if isinstance(message, type) or not callable(dump):
        return {}
    return _mapping(dump(mode="json", warnings=False))


def _first(places: tuple[Mapping[str, Any], ...], name: str) -> str | None:
    found = (_text(place.get(name)) for place in places)
    return next((text for text in found if text is not None), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
