"""An estimate before a call, by the count of the real SDK over a wire that is played."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import anthropic
import httpx2
import pytest

from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._estimate import Estimate, estimate
from claudetrace._pricing._own import load_own_rates
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms

HELLO: dict[str, Any] = {"max_tokens": 1000, "messages": [{"role": "user", "content": "Hello"}]}
CACHED = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
COUNTED = "claude-opus-5-5"
HALF = load_own_rates({"discount": 0.5})


class Wire:
    """Answers every count with `status` and `answer`, and keeps what was asked."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/v1/messages/count_tokens"
        self.asked.append(json.loads(request.content))
        return httpx2.Response(self.status, json=self.answer)

    def client(self) -> anthropic.Anthropic:
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)

    def async_client(self) -> anthropic.AsyncAnthropic:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        return anthropic.AsyncAnthropic(api_key="k", http_client=http, max_retries=0)


def test_an_estimate_has_three_figures():
    """At least the prompt, likely the median output of earlier calls, at most all of `max_tokens`."""
    wire = Wire({"input_tokens": 10_000})

    found = estimate(wire.client(), model=COUNTED, median_output_tokens=200, **HELLO)

    assert found == Estimate(
        model=COUNTED,
        input_tokens=10_000,
        at_least_usd=Decimal("0.04"),
        likely_usd=Decimal("0.044"),
        at_most_usd=Decimal("0.1"),
        rates_version=book().version,
    )


async def test_an_async_client_estimates_the_same():
    """With an async client the estimate is awaited, and is the same."""
    wire = Wire({"input_tokens": 10_000})

    found = await estimate(wire.async_client(), model=COUNTED, **HELLO)

    assert found == estimate(wire.client(), model=COUNTED, **HELLO)


def test_only_what_is_counted_is_sent():
    """The count gets the prompt and none of the settings that it does not take."""
    wire = Wire({"input_tokens": 1})
    told = {"system": "Be brief", "tools": [{"name": "t", "input_schema": {"type": "object"}}]}

    estimate(wire.client(), model=COUNTED, temperature=1.0, metadata={"user_id": "u"}, stream=True, **told, **HELLO)

    assert wire.asked == [{"model": COUNTED, "messages": HELLO["messages"], **told}]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ("0.04", None, "0.1", ())),
        ({"system": [CACHED]}, ("0.002", None, "0.1", ())),
        ({"inference_geo": "us"}, ("0.044", None, "0.11", ())),
        (
            {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
            ("0.04", None, None, ("unpriced_component",)),
        ),
        ({"median_output_tokens": 10**6}, ("0.04", "0.06", "0.1", ())),
        ({"median_output_tokens": None}, ("0.04", None, "0.1", ())),
        ({"model": "claude-opus-5-6"}, (None, None, None, ("unknown_model",))),
        (
            {"terms": Terms().with_own_rates(load_own_rates({"discount": 0.5}))},
            ("0.02", None, "0.05", ("custom_rates",)),
        ),
    ],
)
def test_a_request_decides_its_estimate(request_, expected):
    """Caching, geography, server tools and own prices move the figures; what is unbounded has no upper one."""
    wire = Wire({"input_tokens": 10_000})

    found = estimate(wire.client(), **{"model": COUNTED, **HELLO, **request_})

    figures = tuple(None if text is None else Decimal(text) for text in expected[:3])
    assert (found.at_least_usd, found.likely_usd, found.at_most_usd, found.flags) == (*figures, expected[3])


def test_a_long_prompt_is_estimated_at_its_tier():
    """The count decides the tier of every figure."""
    wire = Wire({"input_tokens": 100_001})

    found = estimate(wire.client(), model="claude-haiku-5-5", **HELLO)

    assert (found.at_least_usd, found.at_most_usd) == (Decimal("0.0500005"), Decimal("0.102501"))


def test_a_prompt_too_long_for_the_model_is_an_error():
    """The error says how long the prompt is, what the model takes, and the way out."""
    wire = Wire({"input_tokens": 200_010})

    with pytest.raises(ClaudetraceError) as refused:
        estimate(wire.client(), model="claude-haiku-4-5", **HELLO)

    assert str(refused.value) == (
        "the prompt has 200010 tokens and claude-haiku-4-5 takes 200000; shorten it by 10 tokens or choose a "
        "model with a longer context"
    )


NOT_FOUND = {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}


@pytest.mark.parametrize(
    ("wire", "complaint"), [(Wire(NOT_FOUND, 404), "could not be counted: NotFoundError"), (Wire({}), "no number")]
)
async def test_a_failing_count_is_a_clear_error(wire, complaint):
    """Sync and async, a count that fails or counts nothing is told as such, with the SDK's own error beneath."""
    with pytest.raises(ClaudetraceError, match=complaint):
        estimate(wire.client(), model=COUNTED, **HELLO)
    with pytest.raises(ClaudetraceError, match=complaint):
        await estimate(wire.async_client(), model=COUNTED, **HELLO)
