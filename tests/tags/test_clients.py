"""`tagged(client, ...)`: for where contexts do not reach."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

import claudetrace

from ._api import ASK, say, say_async
from .conftest import Tags


@pytest.fixture(autouse=True)
def meter(start: Callable[..., claudetrace.Instrumentation]) -> claudetrace.Instrumentation:
    return start()


def test_a_tagged_client_tags_its_calls_and_the_original_stays_as_it_was(
    client: anthropic.Anthropic, tags: Tags
) -> None:
    """The copy carries the tags; the user's client and its class carry nothing new."""
    before = dict(vars(client)), dict(vars(anthropic.Anthropic))
    bound = claudetrace.tagged(client, customer="acme", region="eu")
    after = dict(vars(client)), dict(vars(anthropic.Anthropic))
    say(bound)
    say(client)

    assert after == before
    assert tags() == [{"customer": "acme", "region": "eu"}, {}]


def test_a_tagged_client_is_of_the_exact_type(
    client: anthropic.Anthropic, async_client: anthropic.AsyncAnthropic
) -> None:
    """A tagged client is the SDK's own copy: same class, same HTTP client, same settings."""
    for original in (client, async_client):
        bound = claudetrace.tagged(original, customer="acme")
        assert type(bound) is type(original)
        assert (bound._client, bound.base_url, bound.max_retries) == (
            original._client,
            original.base_url,
            original.max_retries,
        )


def test_copies_of_a_tagged_client_carry_its_tags(client: anthropic.Anthropic, tags: Tags) -> None:
    """`with_options`, `copy`, and `tagged` again keep the tags, and the last adds to them."""
    bound = claudetrace.tagged(client, customer="acme", team="a")
    say(bound.with_options(timeout=9))
    say(bound.copy(max_retries=1).with_options(timeout=9))
    say(claudetrace.tagged(bound, team="b"))
    say(claudetrace.tagged(bound, team="b").with_options(timeout=9))
    say(bound)

    once, twice = {"customer": "acme", "team": "a"}, {"customer": "acme", "team": "b"}
    assert tags() == [once, once, twice, twice, once]


def test_every_way_to_call_carries_the_clients_tags(client: anthropic.Anthropic, tags: Tags) -> None:
    """Streams, helpers, raw responses, beta and direct posts of a tagged client are tagged."""
    bound = claudetrace.tagged(client, customer="acme")
    list(bound.messages.create(**ASK, stream=True))
    with bound.messages.stream(**ASK) as stream:
        stream.until_done()
    bound.messages.with_raw_response.create(**ASK)
    bound.with_raw_response.messages.create(**ASK)
    bound.beta.messages.create(**ASK)
    bound.post("/v1/messages", body=ASK, cast_to=object)

    assert tags() == [{"customer": "acme"}] * 6


async def test_an_async_tagged_client_tags_its_calls(async_client: anthropic.AsyncAnthropic, tags: Tags) -> None:
    """The async client is bound like the sync one."""
    await say_async(claudetrace.tagged(async_client, customer="acme").with_options(timeout=9))

    assert tags() == [{"customer": "acme"}]


def test_the_client_wins_over_the_block(client: anthropic.Anthropic, tags: Tags) -> None:
    """What a client is bound to stands, whatever block it is used in; the block counts the call."""
    with claudetrace.tag(customer="block", feature="f") as scope:
        say(claudetrace.tagged(client, customer="client"))

    assert (tags(), scope.calls) == ([{"customer": "client", "feature": "f"}], 1)


def test_a_tagged_client_reaches_threads_and_generators(client: anthropic.Anthropic, tags: Tags) -> None:
    """A bare thread and a generator iterated elsewhere know nothing of blocks, but know the client."""
    bound = claudetrace.tagged(client, customer="acme")

    def answers() -> Iterator[Any]:
        yield say(bound)

    lines = answers()
    with claudetrace.tag(user="not here"):
        for work in (lambda: say(bound), lambda: list(lines)):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    assert tags() == [{"customer": "acme"}] * 2


@pytest.mark.parametrize("other", [object(), {}, None, anthropic.Anthropic])
def test_what_is_no_client_is_refused_with_the_way_out(other: Any) -> None:
    """Anything but a client raises at once, naming it."""
    with pytest.raises(claudetrace.ClaudetraceError, match=r"takes a client .*, not .+: pass Anthropic\(\)"):
        claudetrace.tagged(other, customer="acme")


@pytest.mark.parametrize(
    "make",
    [
        lambda url: anthropic.AnthropicBedrock(
            base_url=url, aws_access_key="a", aws_secret_key="s", aws_region="us-east-1", max_retries=0
        ),
        lambda url: anthropic.AnthropicFoundry(base_url=url, api_key="k", max_retries=0),
    ],
    ids=["bedrock", "foundry"],
)
def test_cloud_clients_can_be_tagged(make: Callable[[str], Any], server: Any, tags: Tags) -> None:
    """The SDK's copies of cloud clients keep their class and their tags."""
    from claudetrace._demo import _answers

    from ._api import HELLO

    server.add(_answers.answer(HELLO, path="/model/*/invoke"))
    try:
        made = make(server.url)
    except AttributeError:
        pytest.skip("not available: this version of the SDK has no such client")
    with made as client:
        bound = claudetrace.tagged(client, customer="acme").with_options(timeout=9)
        say(bound)

    assert (type(bound), tags()) == (type(client), [{"customer": "acme"}])
