"""What is reserved for a request, against what its answer costs: recorded, golden, and any that may come."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claudetrace._pricing._engine import price_response
from claudetrace._pricing._own import OwnRates
from claudetrace._pricing._prompt_size import PromptSize
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms
from claudetrace._pricing._upper_bound import highest_rates
from claudetrace._usage import merged_usage, usage_columns

from ._requests import DAY, OPUS, OWN, of

RECORDINGS = Path(__file__).parents[3] / "shared/recordings/recordings.jsonl"
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())["cases"]


def recordings() -> list[Any]:
    """The answered requests for messages whose text is as it was sent: long strings were cut when they were kept."""
    if not RECORDINGS.exists():
        return []
    lines = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
    return [
        pytest.param(line, id=line["id"])
        for line in lines
        if line["status"] == 200
        and "messages" in (line["request"] or {})
        and "count" not in line["path"].rpartition("/")[2]
        and not is_cut(line["request"])
        # Its prompt was made shorter by hand: 18,135 tokens of 30 bytes.
        and line["request"].get("system") != "very very long system prompt"
    ]


def is_cut(value: Any) -> bool:
    if isinstance(value, dict):
        if str(value.get("media_type")).startswith("image/"):
            return False
        return any(map(is_cut, value.values()))
    if isinstance(value, list):
        return any(map(is_cut, value))
    return isinstance(value, str) and len(value) == 301 and value.endswith("…")


def answer_of(body: str) -> tuple[str | None, dict[str, Any] | None]:
    if body.lstrip().startswith("{"):
        message = json.loads(body)
        return message.get("model"), message.get("usage")
    model, usage = None, None
    for line in body.splitlines():
        event = json.loads(line[5:]) if line.startswith("data:") and line[5:].strip().startswith("{") else {}
        if event.get("type") == "message_start":
            model, usage = event["message"]["model"], event["message"]["usage"]
        if event.get("type") == "message_delta" and event.get("usage"):
            usage = merged_usage(usage, event["usage"])
    return model, usage


ALL = recordings()


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"the recordings are not there: {RECORDINGS}")
@pytest.mark.parametrize("recording", ALL)
def test_no_recorded_answer_cost_more_than_its_request_was_bound_to(recording):
    """A recorded answer costs no more than the bound, unless the request says why there is none."""
    request = recording["request"]
    asked = request.get("model") or unquote(recording["path"].split("/")[2])
    terms = Terms(platform="bedrock" if "bedrock" in recording["host"] else "anthropic")
    found = of(request, model=asked, terms=terms)
    model, usage = answer_of(recording["body"])
    cost = price_response(usage, usage_columns(usage), model=model, model_requested=asked, day=DAY, terms=terms).picousd

    if found.why_unbounded is None:
        assert cost is not None
        assert cost <= found.picousd
        assert sum(usage_columns(usage).get(name) or 0 for name in PROMPT) <= most_tokens(request, asked, terms)
    else:
        assert found.picousd > 0 or not found.priced


def most_tokens(request: dict[str, Any], model: str, terms: Terms) -> int:
    """What the prompt is measured at: where `max_tokens` is large, a bound says little of it."""
    measure, rates = PromptSize(), highest_rates(model, DAY, terms, fast=False, worldwide=False)
    measure.request(request)
    assert rates is not None
    return measure.at_most(rates.image_tokens, rates.tool_prompt_tokens)


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"the recordings are not there: {RECORDINGS}")
def test_what_makes_a_recorded_request_unbounded_is_named():
    """Of all recorded requests, these and no others are unbounded, each for a reason that can be read."""
    reasons = Counter(
        of(case.values[0]["request"], model=case.values[0]["request"].get("model") or OPUS).why_unbounded
        for case in ALL
    )

    assert reasons.pop(None) > 150
    assert {str(reason).rstrip("0123456789") for reason in reasons} <= {
        "unknown model",
        "a URL source",
        "a file source",
        "MCP servers",
        "compaction",
        "server tool web_search_",
        "server tool advisor_",
        "server tool code_execution_",
        "server tool tool_search_tool_bm25_",
        "server tool tool_search_tool_regex_",
        "a container",
        "results of server tools",
    }


def window_of(model: str) -> int:
    return int((book().models.get(model) or {}).get("context_window") or 10**6)


def fits(case: dict[str, Any]) -> bool:
    """Whether one request could have had this usage: some cases are a month's sum."""
    columns = usage_columns(case["usage"])
    window = window_of(book().ids.get(case["model"], ""))
    return max(sum(columns.get(name) or 0 for name in PROMPT), columns.get("output_tokens") or 0) <= window


PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
ONE_CALL = [case for case in GOLDEN if case["kind"] == "message" and (case["usage"] is None or fits(case))]


@pytest.mark.parametrize("case", ONE_CALL, ids=lambda case: case["id"])
def test_no_golden_answer_costs_more_than_a_request_that_could_have_had_it(case):
    """The tightest request for each priced case is bound to no less than its price, or is called unbounded."""
    said, usage = case["request"], case["usage"] or {}
    columns = usage_columns(usage)
    body, batch = request_for(columns, usage, case["model"], said), bool(said.get("batch"))
    terms = Terms(
        platform=said.get("platform", "anthropic"),
        endpoint_scope=said.get("endpoint_scope"),
        data_zone="us" if said.get("deployment") == "us_data_zone" else None,
    )
    day = datetime.fromisoformat(case["timestamp"]).date().isoformat()
    operation = "messages.batches.create" if batch else "messages.create"
    found = of({"requests": [{"custom_id": "a", "params": body}]} if batch else body, operation, terms=terms, day=day)
    priced = price_response(
        usage,
        columns,
        model=case["model"],
        stop_reason=case["stop_reason"],
        day=day,
        terms=Terms(**{**{name: getattr(terms, name) for name in terms.__slots__ if name != "text"}, "batch": batch}),
    )

    if priced.picousd is None:
        assert not (found.priced and columns.get("input_tokens"))
    elif found.why_unbounded is None:
        assert priced.picousd <= found.picousd
    else:
        assert {"tools", "fallbacks", "context_management", "speed"} & body.keys() or not found.priced


def request_for(columns: dict[str, Any], usage: dict[str, Any], model: str, said: dict[str, Any]) -> dict[str, Any]:
    """A request whose text has as many bytes as the answer says that its prompt had tokens."""
    prompt = sum(columns.get(name) or 0 for name in PROMPT)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": columns.get("output_tokens") or 0,
        "messages": [{"role": "user", "content": "x" * prompt}],
    }
    if "speed" in said:
        body["speed"] = said["speed"]
    if columns.get("cache_write_1h_tokens"):
        body["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    elif columns.get("cache_write_5m_tokens"):
        body["cache_control"] = {"type": "ephemeral"}
    if columns.get("web_search_requests") or (usage.get("server_tool_use") or {}):
        body["tools"] = [{"type": "web_search_20250305", "name": "web_search"}]
    kinds = {entry.get("type") for entry in usage.get("iterations") or ()}
    if "compaction" in kinds:
        body["context_management"] = {"edits": [{"type": "compact_20260112"}]}
    if "advisor_message" in kinds:
        body["tools"] = [{"type": "advisor_20260301", "name": "advisor"}]
    if kinds - {"compaction", "advisor_message"}:
        body["fallbacks"] = [{"model": OPUS}]
    return body


# Against every answer that may come

PLATFORMS = [
    Terms(),
    Terms(platform="aws"),
    Terms(platform="bedrock"),
    Terms(platform="vertex"),
    Terms(platform="vertex", endpoint_scope="global"),
    Terms(platform="foundry"),
    Terms(platform="google_cloud", endpoint_scope="regional"),
]


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[dict[str, Any], Terms, bool, dict[str, Any], Terms, OwnRates | None]:
    """A request, and an answer that it allows: tokens, speed, geography and endpoint are the API's choice."""
    caching = draw(st.sampled_from([None, "5m", "1h"]))
    size = draw(st.sampled_from([1, 50_000, 100_000, 300_000]) | st.integers(1, 400_000))
    most = draw(st.integers(0, 64_000))
    fast = draw(st.booleans())
    geo = draw(st.sampled_from([None, "global", "us"]))
    body: dict[str, Any] = {"model": draw(st.sampled_from(sorted(book().models))), "max_tokens": most}
    body["messages"] = size
    if caching:
        body["system"] = [{"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": caching}}]
    if fast:
        body["speed"] = "fast"
    if geo:
        body["inference_geo"] = geo
    classes = PROMPT[: {None: 1, "5m": 3, "1h": 4}[caching]]
    prompt = min(size, window_of(body["model"]))
    cuts = [0, *sorted(draw(st.integers(0, prompt)) for _ in classes[1:]), prompt]
    columns: dict[str, Any] = {name: cuts[at + 1] - cuts[at] for at, name in enumerate(classes)}
    columns = {"input_tokens": 0, **columns, "output_tokens": draw(st.integers(0, most))}
    columns["speed"] = draw(st.sampled_from(["standard", "fast"] if fast else [None, "standard"]))
    columns["service_tier"] = draw(st.sampled_from([None, "standard", "priority"]))
    columns["inference_geo"] = draw(st.sampled_from(["global"] if geo == "global" else ["us", "global", None]))
    sent = draw(st.sampled_from(PLATFORMS))
    told = draw(st.sampled_from(["global", "regional"])) if sent.endpoint_scope is None else sent.endpoint_scope
    zone = draw(st.sampled_from([None, "us"])) if sent.platform == "foundry" else None
    served = Terms(platform=sent.platform, endpoint_scope=told, data_zone=zone, batch=draw(st.booleans()))
    return body, sent, served.batch, columns, served, draw(st.sampled_from([None, OWN]))


@settings(max_examples=400, deadline=None)
@given(exchanges())
def test_no_answer_that_a_request_allows_costs_more_than_its_bound(exchange):
    """However the API serves a request that can be bound, the answer's price is at most the bound."""
    body, sent, batch, columns, served, own_rates = exchange
    body = {**body, "messages": [{"role": "user", "content": "x" * body["messages"]}]}
    operation = "messages.batches.create" if batch else "messages.create"
    whole = {"requests": [{"custom_id": "a", "params": body}]} if batch else body
    found = of(whole, operation, terms=sent.with_own_rates(own_rates))
    asked = body["model"]
    terms = served.with_own_rates(own_rates)
    cost = price_response({}, columns, model=asked, model_requested=asked, day=DAY, terms=terms).picousd

    if found.why_unbounded is None:
        assert cost is not None
        assert cost <= found.picousd
    else:
        assert not found.priced or body.get("speed") == "fast"
