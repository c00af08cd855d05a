"""What holds for every usage object, not only for the cases that someone thought of."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.beta import BetaMessage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._bill import Priced
from claudetrace._pricing._engine import price_response
from claudetrace._pricing._price import price
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

from .oracle import MODELS, picousd

TOKENS = st.one_of(st.integers(0, 300), st.integers(0, 400_000), st.integers(0, 10**12))
MAYBE = st.one_of(st.none(), TOKENS)
DAYS = st.dates(datetime(2024, 3, 1).date(), datetime(2027, 6, 1).date()).map(lambda day: day.isoformat())
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def counts() -> dict[str, Any]:
    return {
        "input_tokens": TOKENS,
        "output_tokens": TOKENS,
        "cache_read_input_tokens": MAYBE,
        "cache_creation_input_tokens": MAYBE,
        "cache_creation": st.one_of(
            st.none(),
            st.fixed_dictionaries({"ephemeral_5m_input_tokens": TOKENS, "ephemeral_1h_input_tokens": TOKENS}),
        ),
    }


ENTRIES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("message"), **counts()}),
        st.fixed_dictionaries({"type": st.just("compaction"), **counts()}),
        st.fixed_dictionaries(
            {"type": st.just("advisor_message"), "model": st.sampled_from(sorted(MODELS)), **counts()}
        ),
    ),
    max_size=4,
)
USAGES = st.fixed_dictionaries(
    counts(),
    optional={
        "server_tool_use": st.one_of(
            st.none(),
            st.fixed_dictionaries({"web_search_requests": st.integers(0, 50), "web_fetch_requests": st.integers(0, 9)}),
        ),
        "service_tier": st.sampled_from([None, "standard", "batch", "priority"]),
        "inference_geo": st.sampled_from([None, "global", "us", "not_available"]),
        "speed": st.sampled_from([None, "standard", "fast"]),
        "iterations": st.one_of(st.none(), ENTRIES),
    },
)
RESPONSES = st.fixed_dictionaries(
    {"usage": USAGES, "model": st.sampled_from(sorted(MODELS)), "day": DAYS, "batch": st.booleans()}
)


def priced(usage: Any, model: Any, day: Any, *, batch: bool = False, **terms: Any) -> Priced:
    return price_response(usage, usage_columns(usage), model=model, day=day, terms=Terms(batch=batch, **terms))


def message(usage: dict[str, Any], model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }


@QUICK
@given(RESPONSES)
def test_a_cost_is_the_sum_of_its_parts_and_of_a_second_computation(response):
    """Each part is its quantity × rate, rounded once; their sum is the cost, and what `Fraction` alone finds."""
    found = priced(**response)
    cost = found.cost()

    expected = picousd(response["usage"], response["model"], response["day"], batch=response["batch"])
    if expected is not None and expected >= 2**63:
        expected = None
    assert found.picousd == expected
    if found.picousd is None:
        assert cost.parts == ()
        assert cost.flags != ()
        return
    assert [part.picousd for part in cost.parts] == [round(p.quantity * p.rate_picousd) for p in cost.parts]
    assert sum(part.picousd for part in cost.parts) == found.picousd == cost.usd.scaleb(12)
    assert [part["picousd"] for part in json.loads(found.parts_json())] == [p.picousd for p in cost.parts]


@QUICK
@given(RESPONSES, st.integers(1, 10**7), st.data())
def test_more_tokens_never_cost_less(response, more, data):
    """Whichever count grows, the cost does not fall."""
    usage = copy.deepcopy(response["usage"])
    places = [(usage, name) for name in counts() if type(usage.get(name)) is int]
    for entry in usage.get("iterations") or []:
        places += [(entry, name) for name in counts() if type(entry.get(name)) is int]
    if usage.get("server_tool_use"):
        places.append((usage["server_tool_use"], "web_search_requests"))
    where, name = data.draw(st.sampled_from(places))
    where[name] += more

    before, after = priced(**response), priced(**{**response, "usage": usage})

    if before.picousd is not None and after.picousd is not None:
        assert after.picousd >= before.picousd


@QUICK
@given(RESPONSES)
def test_an_sdk_object_its_dump_and_its_json_cost_the_same(response):
    """`price` sees the same in a Message, a BetaMessage, their dumps and the JSON that came."""
    body = message(response["usage"], response["model"])
    at = datetime.fromisoformat(response["day"])

    costs = [
        price(body, at=at, batch=response["batch"]),
        price(json.loads(json.dumps(body)), at=at, batch=response["batch"]),
    ]
    for kind in (Message, BetaMessage):
        typed = kind.construct(**body)
        for subject in (typed, typed.model_dump(), json.loads(typed.model_dump_json())):
            costs += [price(subject, at=at, batch=response["batch"])]

    assert costs[1:] == costs[:-1]


# Names that do not end like a count: an unknown count is flagged.
UNKNOWN = st.dictionaries(st.text().map(lambda name: f"x_{name}_x"), st.integers() | st.text() | st.none())


@QUICK
@given(RESPONSES, UNKNOWN)
def test_unknown_fields_change_nothing(response, unknown):
    """What the API may add to a usage object or to its iterations leaves the price as it is."""
    usage = copy.deepcopy(response["usage"])
    for place in (usage, *(usage.get("iterations") or [])):
        place.update(unknown)

    assert priced(**{**response, "usage": usage}).cost() == priced(**response).cost()


@QUICK
@given(RESPONSES, UNKNOWN)
def test_unknown_counts_among_counts_are_told(response, unknown):
    """What the API may add to an object of counts leaves the amount as it is, and where it counts, a flag tells it."""
    usage = copy.deepcopy(response["usage"])
    places = [place for name in ("cache_creation", "server_tool_use") if (place := usage.get(name)) is not None]
    for place in places:
        place.update(unknown)
    before, after = priced(**response), priced(**{**response, "usage": usage})

    assert (after.picousd, after.cost().parts) == (before.picousd, before.cost().parts)
    told = {"unpriced_component"} if places and any(type(each) is int and each for each in unknown.values()) else set()
    assert set(after.flags) - {"unpriced_component"} == set(before.flags) - {"unpriced_component"}
    assert told <= set(after.flags) <= told | set(before.flags)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        *("cache_creation", "ephemeral_1h_input_tokens", "server_tool_use", "web_search_requests"),
        *("service_tier", "inference_geo", "speed", "iterations", "output_tokens_details"),
        *("active_seconds", "list_cost", "amount", "currency"),
    ]
)
ODD_ENTRY = st.dictionaries(
    NAMES | st.sampled_from(["type", "model"]),
    JSON | st.sampled_from(["message", "compaction", "fallback_message", "advisor_message", "claude-opus-5", -1]),
    max_size=6,
)
ODD_USAGE = st.dictionaries(NAMES, JSON | TOKENS | st.lists(ODD_ENTRY | JSON, max_size=3), max_size=8)
ODD_WORD = JSON | st.sampled_from(["claude-opus-5-5", "claude-haiku-5-5", "fast", "us.anthropic.claude-opus-5"])


@settings(QUICK, max_examples=400)
@given(JSON | ODD_USAGE, ODD_WORD, ODD_WORD, ODD_WORD, JSON | DAYS, st.booleans())
def test_no_input_raises(usage, model, requested, stop_reason, day, final):
    """Whatever comes instead of a response, there is a price or a reason."""
    found = price_response(
        usage,
        usage_columns(usage),
        model=model,
        model_requested=requested,
        stop_reason=stop_reason,
        day=day,
        terms=Terms(),
        final=final,
    )

    assert found.picousd is not None or found.flags
    json.loads(found.parts_json() or "null")
    json.loads(found.flags_json())
    found.cost()


@settings(QUICK, max_examples=400)
@given(
    JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "type": JSON | st.sampled_from(["session", "message", "count_tokens"]),
            "model": ODD_WORD,
            "usage": JSON | ODD_USAGE,
            "content": JSON | st.lists(st.dictionaries(st.sampled_from(["type", "name", "caller"]), JSON)),
            "stop_reason": JSON | st.just("refusal"),
            "agent": JSON,
            "result": JSON,
            "request": JSON,
        },
    ),
    st.sampled_from([None, "anthropic", "bedrock", "vertex", "foundry", "aws", "google_cloud"]),
    st.sampled_from([None, "global", "regional"]),
    st.sampled_from([None, "us"]),
)
def test_price_takes_anything(subject, platform, scope, zone):
    """`price` answers every object with a cost or a reason."""
    cost = price(subject, platform=platform, endpoint_scope=scope, data_zone=zone)

    assert cost.usd is not None or cost.flags


@QUICK
@given(
    st.sampled_from(["platform", "endpoint_scope", "data_zone", "billed_to"]),
    JSON.filter(lambda word: word is not None),
)
def test_price_refuses_a_word_that_it_does_not_know(name, word):
    """A word that is none of a keyword's is refused, whatever it is: it would be priced as something else."""
    with pytest.raises(ClaudetraceError, match=f"^{name} cannot be "):
        price({"model": "claude-opus-5-5", "usage": {"input_tokens": 1, "output_tokens": 1}}, **{name: word})
