"""The anthropic SDK reads every body that the play server builds."""

from __future__ import annotations

import _bedrock
import anthropic
import pytest

from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire
from claudetrace._demo._server import Exchange, PlayServer

from .kinds._plays import packed

ASK = {"model": wire.MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "Hello?"}]}
TOOL = wire.message([wire.text("One moment."), wire.tool_use("look_up", {"word": "meter"})], wire.usage(40, 30))


@pytest.fixture
def server():
    with PlayServer() as server:
        yield server
    assert server.failures == []


@pytest.fixture
def client(server):
    with anthropic.Anthropic(base_url=server.url, api_key="demo") as client:
        yield client


def test_a_message_is_read_whole(server, client):
    """The SDK gives the message's text, blocks and counts back."""
    server.add(answers.answer(TOOL))
    message = client.messages.create(**ASK)

    assert message.to_dict()["content"] == TOOL["content"]
    assert message.usage.to_dict() == TOOL["usage"]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
def test_a_stream_builds_the_same_message(server, client, encoding):
    """The events of a message give the message when put together, packed or not."""
    server.add(answers.stream(TOOL) if encoding is None else packed(lambda: answers.stream(TOOL), encoding))
    with client.messages.stream(**ASK) as stream:
        message = stream.get_final_message()

    assert [block.to_dict(exclude_none=True) for block in message.content] == TOOL["content"]
    assert message.usage.output_tokens == TOOL["usage"]["output_tokens"]


def test_a_failure_is_tried_again_and_then_answered(server, client):
    """A 429 and its answer are one call to the caller, two requests to the server."""
    server.add(answers.failure(429, "rate_limit_error", headers={"retry-after-ms": "1"}), answers.answer())
    client.messages.create(**ASK)

    assert [r.headers["x-stainless-retry-count"] for r in server.requests] == ["0", "1"]


def test_an_error_has_its_type(server, client):
    """An error of the API is raised with its type and the id of its request."""
    server.add(answers.failure(400, "invalid_request_error", "max_tokens: too large"))
    with pytest.raises(anthropic.BadRequestError, match="too large") as raised:
        client.messages.create(**ASK)

    assert raised.value.request_id.startswith("req_demo_")


def test_a_batch_gives_its_results(server, client):
    """The results of a batch are read from the address the batch names, as often as one likes."""
    server.add(*answers.batch("msgbatch_1", {"good": wire.message(), "bad": wire.error("api_error")}))
    created = client.messages.batches.create(requests=[{"custom_id": "good", "params": ASK}])
    told = [[(r.custom_id, r.result.type) for r in client.messages.batches.results(created.id)] for _ in range(2)]

    assert told == [[("good", "succeeded"), ("bad", "errored")]] * 2


def test_bedrock_reads_the_event_stream(server):
    """The frames pass the checks of boto's own parser."""
    server.add(
        Exchange(
            path="/model/*/invoke-with-response-stream",
            headers={"content-type": "application/vnd.amazon.eventstream"},
            body=_bedrock.frames(wire.stream_events(TOOL)),
        ),
        answers.answer(path="/model/*/invoke"),
    )
    client = anthropic.AnthropicBedrock(
        base_url=server.url, aws_access_key="demo", aws_secret_key="demo", aws_region="us-east-1"
    )
    with client:
        with client.messages.stream(**ASK) as stream:
            assert stream.get_final_message().to_dict(exclude_none=True)["content"] == TOOL["content"]
        assert client.messages.create(**ASK).content[0].text == "Hello."
