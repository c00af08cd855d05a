"""What is reserved for a request: what it is made of, and what is named where no bound is known."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import NOT_GIVEN
from anthropic.types import TextBlock
from anthropic.types.beta import message_create_params as beta
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import given
from hypothesis import strategies as st

from claudetrace._pricing._engine import LARGEST_PICOUSD
from claudetrace._pricing._own import load_own_rates
from claudetrace._pricing._prompt_size import PromptSize
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms
from claudetrace._pricing._upper_bound import NOTHING, Bound

from ._requests import HELLO, OPUS, OWN, of


def saying(*blocks: Any, **more: Any) -> dict[str, Any]:
    """A request with these blocks of content."""
    return {**HELLO, "messages": [{"role": "user", "content": list(blocks)}], **more}


def test_a_plain_request_is_bound_by_its_bytes_and_its_max_tokens():
    """The prompt at the input rate and `max_tokens` at the output rate, with the premium of a default geography."""
    prompt_tokens = 256 + 32 + 5

    assert of(HELLO) == Bound(picousd=(prompt_tokens * 4_000_000 + 100 * 20_000_000) * 11 // 10)
    assert of({**HELLO, "inference_geo": "global"}) == Bound(picousd=prompt_tokens * 4_000_000 + 100 * 20_000_000)


@pytest.mark.parametrize(
    ("more", "times"),
    [({}, 1), ({"cache_control": {"type": "ephemeral"}}, 1.25), ({"cache_control": {"type": "e", "ttl": "1h"}}, 2)],
)
def test_the_prompt_is_in_the_most_expensive_class_it_can_have(more, times):
    """Plain without caching, else a write for as long as the longest one asked for."""
    plain = of({**HELLO, "max_tokens": 0}).picousd

    assert of({**HELLO, "max_tokens": 0, **more}).picousd == plain * times


def test_a_long_prompt_is_bound_at_the_tier_it_could_reach():
    """Bytes enough for the long tier bind input and output at its rates."""
    body = {**HELLO, "model": "claude-haiku-5-5", "max_tokens": 1000}
    short = of({**body, "messages": [{"role": "user", "content": "x" * 90_000}]}).picousd
    long = of({**body, "messages": [{"role": "user", "content": "x" * 100_001}]}).picousd

    assert long > short * 5


def test_no_prompt_is_longer_than_the_window_of_its_model():
    """Text beyond the model's window adds nothing: the API refuses it."""
    body = {**HELLO, "model": "claude-haiku-4-5", "max_tokens": 0}

    assert of({**body, "messages": [{"role": "user", "content": "x" * 10**6}]}) == Bound(picousd=200_000 * 1_000_000)


@pytest.mark.parametrize(("model", "tokens"), [("claude-opus-4-6", 1664), (OPUS, 4784)])
def test_an_image_counts_at_the_most_that_its_model_sees(model, tokens):
    """An image's size in bytes does not matter."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 10**6}}
    body = {"model": model, "max_tokens": 0, "inference_geo": "global"}
    with_image, without = of({**saying(image), **body}), of({**saying(), **body})
    rate = int(book().models[model]["periods"][-1]["input"]) * 10**6

    assert with_image.why_unbounded is None
    assert with_image.picousd - without.picousd == (tokens + 32) * rate


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (saying({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}), "a URL source"),
        (saying({"type": "image", "source": {"type": "file", "file_id": "file_1"}}), "a file source"),
        (saying({"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}), "a URL source"),
        (saying({"type": "document", "source": {"type": "base64", "data": "JVBE"}}), "a PDF"),
        (saying({"type": "container_upload", "file_id": "file_1"}), "a container"),
        (
            saying({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "a"}}]}),
            "a URL source",
        ),
        (saying({"type": "web_search_tool_result", "content": []}), "results of server tools"),
        (saying({"type": "hologram"}), "content of type hologram"),
        (
            saying({"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "a"}}),
            "server tool mcp_toolset",
        ),
        (
            saying(
                {
                    "type": "tool_addition",
                    "tool": {"type": "tool_definition", "definition": {"type": "web_fetch_20260318", "name": "f"}},
                }
            ),
            "server tool web_fetch_20260318",
        ),
        (saying(cache_control={"type": "ephemeral", "ttl": "1d"}), "a cache for 1d"),
        ({**HELLO, "tools": [{"type": "web_search_20250305", "max_uses": 1}]}, "server tool web_search_20250305"),
        ({**HELLO, "tools": [{"type": "code_execution_20260120"}]}, "server tool code_execution_20260120"),
        ({**HELLO, "tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}]}, "server tool mcp_toolset"),
        ({**HELLO, "tools": [{"type": "browser_toolset_20260801"}]}, "tool type browser_toolset_20260801"),
        ({**HELLO, "mcp_servers": [{"type": "url", "url": "https://a", "name": "a"}]}, "MCP servers"),
        ({**HELLO, "container": "container_1"}, "a container"),
        ({**HELLO, "thread": {"type": "create"}}, "a thread"),
        ({**HELLO, "fallbacks": "default"}, "fallbacks"),
        ({**HELLO, "compaction": {"type": "summarize"}}, "compaction"),
        ({**HELLO, "context_management": {"edits": [{"type": "compact_20260112"}]}}, "compaction"),
        ({**HELLO, "inference_geo": "eu"}, "inference_geo eu"),
        ({**HELLO, "service_tier": "flex"}, "service_tier flex"),
        ({**HELLO, "speed": "ludicrous"}, "speed ludicrous"),
        ({**HELLO, "model": "claude-sonnet-4-6", "speed": "fast"}, "a speed without a price"),
        ({**HELLO, "teleport": True}, "the parameter teleport"),
        ({**HELLO, "messages": iter(HELLO["messages"])}, "messages that can be read only once"),
        ({**HELLO, "messages": [object()]}, "content that cannot be read (TypeError)"),
        ({**HELLO, "messages": [{"role": "user", "content": iter([])}]}, "content that can be read only once"),
    ],
)
def test_what_makes_a_request_unbounded_is_named(body, why):
    """Whatever makes more possible is named, and an estimate above nothing is reserved."""
    found = of(body)

    assert (found.why_unbounded, found.priced) == (why, True)
    assert found.picousd > 0


@pytest.mark.parametrize(
    "body",
    [
        {**HELLO, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"}},
        {**HELLO, "tools": [{"type": "memory_20250818", "name": "memory"}, {"type": "bash_20250124", "name": "bash"}]},
        {**HELLO, "thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"}},
        {**HELLO, "context_management": {"edits": [{"type": "clear_thinking_20251015"}]}, "mcp_servers": []},
        {**HELLO, **dict.fromkeys(["container", "speed", "system", "tools", "fallbacks"], NOT_GIVEN)},
        saying(TextBlock(type="text", text="Hello")),
        saying({"type": "document", "source": {"type": "text", "data": "Hello"}, "citations": {"enabled": True}}),
        saying(
            {"type": "tool_use", "id": "a", "name": "f", "input": {"a": [1]}}, {"type": "tool_result", "content": "b"}
        ),
        saying({"type": "thinking", "thinking": "", "signature": "abc"}),
    ],
)
def test_what_is_all_inline_is_bounded(body):
    """Tools of the caller's, thinking, clearing of context, parameters left out and inline content are bounded."""
    found = of(body)

    assert found.why_unbounded is None
    assert found.picousd >= of(HELLO).picousd


def test_every_parameter_of_the_sdk_is_looked_at_free_or_named():
    """No parameter that the installed SDK documents is unknown here."""
    documented = MessageCreateParamsBase.__annotations__.keys() | beta.MessageCreateParamsBase.__annotations__.keys()
    odd = {name for name in documented if "parameter" in str(of({**HELLO, name: HELLO.get(name, "a")}).why_unbounded)}

    assert odd == set()


def test_messages_that_can_be_read_only_once_are_left_to_the_sdk():
    """An iterator of messages still has all of them after it was looked at."""
    messages = iter(HELLO["messages"])
    of({**HELLO, "messages": messages})

    assert list(messages) == HELLO["messages"]


def test_a_request_that_cannot_be_read_is_unbounded():
    """A value that breaks when it is looked at stops nothing, and is named."""

    class Broken:
        def __bool__(self) -> bool:
            raise ValueError("no")

    assert of({**HELLO, "teleport": Broken()}).why_unbounded == "a request that cannot be read (ValueError)"


def test_middleware_may_ask_again():
    """A client with middleware is unbounded, and what one answer can cost is reserved."""
    assert of(HELLO, has_middleware=True) == Bound(picousd=of(HELLO).picousd, why_unbounded="client middleware")


def test_a_model_without_a_price_reserves_nothing_and_says_so():
    """An unknown model is not priced as its nearest neighbour."""
    assert of({**HELLO, "model": "claude-opus-9"}) == Bound(picousd=0, why_unbounded="unknown model", priced=False)


def test_the_path_names_the_model_where_the_body_does_not():
    """On Bedrock the model comes from the path, and an endpoint that nobody named is taken as regional."""
    body = {name: HELLO[name] for name in ("max_tokens", "messages")}
    bare, worldwide = (
        of(body, model=f"{where}anthropic.{OPUS}", terms=Terms(platform="bedrock")) for where in ("", "global.")
    )

    assert bare.picousd * 10 == worldwide.picousd * 11


def test_a_foundry_deployment_may_be_in_a_data_zone():
    """Where nobody said in which zone a deployment is, its premium is reserved, for old models too."""
    body = {**HELLO, "model": "claude-opus-4-5"}
    unknown, elsewhere = (of(body, terms=Terms(platform="foundry", data_zone=zone)).picousd for zone in (None, "us"))

    assert unknown == elsewhere == of(body).picousd * 11 // 10


def test_own_prices_bind_what_they_charge():
    """A discount lowers the bound as it lowers the price."""
    assert of(HELLO, terms=Terms().with_own_rates(OWN)).picousd == of(HELLO).picousd * 8 // 10


def test_another_organizations_bill_reserves_nothing():
    """What a user profile's organization pays is not this one's spend."""
    assert of({**HELLO, "billing_policy": {"type": "billing_policy", "bill_to": "user_profile"}}) == Bound(picousd=0)


def test_a_batch_reserves_the_sum_of_its_items():
    """Every item at batch rates, each counted as an answer; one that is unbounded makes the batch so."""
    items = [{"custom_id": str(at), "params": HELLO} for at in range(3)]
    odd = {"custom_id": "odd", "params": {**HELLO, "model": "claude-opus-9"}}

    found = of({"requests": items}, "messages.batches.create")
    assert found == Bound(picousd=3 * of(HELLO).picousd // 2, calls=3)
    assert of({"requests": [*items, odd]}, "messages.batches.create") == Bound(
        picousd=found.picousd, why_unbounded="unknown model", calls=4, priced=False
    )


@pytest.mark.parametrize("operation", ["messages.count_tokens", "messages.batches.result"])
def test_what_is_free_reserves_nothing(operation):
    """Counting tokens is free, and a batch's results were reserved for when it was made."""
    assert of(HELLO, operation) == NOTHING


def test_a_legacy_completion_is_bound_like_a_message():
    """The prompt by its bytes, and the most tokens it asks to sample."""
    found = of({"model": OPUS, "prompt": "x" * 1000, "max_tokens_to_sample": 10}, "completions.create")

    assert found == Bound(picousd=((256 + 1000) * 4_000_000 + 10 * 20_000_000) * 11 // 10)


def test_an_absurd_request_reserves_no_more_than_a_store_can_hold():
    """A sum beyond what SQLite's integers hold is the largest of them."""
    dollars = dict.fromkeys(("input", "cache_read", "cache_write_5m", "cache_write_1h", "output"), 10_000)
    terms = Terms().with_own_rates(load_own_rates({"models": {"dear": dollars}}))
    item = {"params": {**HELLO, "model": "dear", "max_tokens": 10**9}}

    assert of({"requests": [item] * 2}, "messages.batches.create", terms=terms).picousd == LARGEST_PICOUSD


@given(st.text(), st.lists(st.text(), max_size=3))
def test_text_counts_by_its_bytes(system, texts):
    """A prompt is measured at the bytes of its texts, in any script, and the margins."""
    measure = PromptSize()
    measure.request({"system": system, "messages": [{"role": "user", "content": text} for text in texts]})

    least = sum(len(text.encode()) for text in (system, *texts))
    assert measure.at_most(0, 0) == least + 256 + 32 * len(texts)
