"""Answers to the real SDK over HTTP, in each way that it reads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._demo import _answers, _wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    import anthropic

    from claudetrace._demo._server import PlayServer

TOLD_IN_PIECES = ("text", "thinking", "tool_use")
ASK: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello?"}],
}


def created(client: anthropic.Anthropic, server: PlayServer, whole: dict[str, Any]) -> Any:
    """The message as `messages.create` gives it."""
    server.add(_answers.answer(whole))
    return client.messages.create(**ASK)


def streamed(client: anthropic.Anthropic, server: PlayServer, whole: dict[str, Any]) -> Any:
    """The message as the SDK puts it together from a stream."""
    content = [{"input": {}, **block} for block in whole["content"]]
    told_whole = {at for at, block in enumerate(whole["content"]) if block["type"] not in TOLD_IN_PIECES}
    events = [
        event
        for event in _wire.stream_events({**whole, "content": content})
        if event["type"] != "content_block_delta" or event["index"] not in told_whole
    ]
    return told(client, server, events)


def from_batch(client: anthropic.Anthropic, server: PlayServer, whole: dict[str, Any]) -> Any:
    """The message as the result of a batch."""
    server.add(*_answers.batch("msgbatch_1", {"one": whole}))
    (line,) = client.messages.batches.results("msgbatch_1")
    return line


WAYS = (created, streamed, from_batch)


def told(client: anthropic.Anthropic, server: PlayServer, events: Sequence[dict[str, Any]]) -> Any:
    """The message that the SDK puts together from these events."""
    server.add(_answers.stream_of(events))
    with client.messages.stream(**ASK) as stream:
        return stream.get_final_message()
