"""Makes a small help desk's calls through the anthropic SDK, with the tags that a help desk would set."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from claudetrace import tag
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer
from claudetrace._demo._wire import error, text, tool_use, usage

if TYPE_CHECKING:
    from collections.abc import Callable

    import anthropic

    from claudetrace._demo._server import Exchange

SONNET = "claude-sonnet-5-5"
HAIKU = "claude-haiku-5-5"
OPUS = "claude-opus-5-5"
MANUAL_TOKENS = 18_240
TOOLS: Any = [
    {"name": name, "description": words, "input_schema": {"type": "object", "properties": {}}}
    for name, words in {"find_order": "Finds an order.", "send_money_back": "Sends money back."}.items()
]
PARCEL = "Your parcel left our warehouse this morning and should reach you on Thursday."
CHARGED_TWICE = (
    "I have looked at your last three invoices. The second one was charged twice, so I have sent the money "
    "back to your card; it takes two to four working days to arrive."
)
RESET = "Hold the reset button for ten seconds until the light turns blue, then pair the device again."
_number = count(1)


def play(port: int = 0, on_step: Callable[[str], None] | None = None) -> None:
    """Makes the demo's calls to a server on loopback. They are recorded if `instrument()` is running."""
    import anthropic

    with (
        PlayServer(port=port) as server,
        # A proxy in the environment would send loopback calls to the network.
        anthropic.DefaultHttpxClient(trust_env=False) as http_client,
        anthropic.Anthropic(base_url=server.url, api_key="demo", http_client=http_client) as client,
    ):
        for words, step in STEPS.items():
            if on_step is not None:
                on_step(words)
            step(client, server)


def play_stopped() -> None:
    """Makes calls that a budget of the feature `trial` stops: nothing is sent."""
    import anthropic

    from claudetrace import BudgetExceeded

    with anthropic.Anthropic(base_url="http://127.0.0.1:9", api_key="demo", max_retries=0) as client:
        for user, customer in (("gus", "hooli"), ("hal", "hooli"), ("ida", "wayne")):
            with tag(feature="trial", user=user, customer=customer), suppress(BudgetExceeded):
                client.messages.create(**_ask("Write the novel of my life.", OPUS, max_tokens=8192))


def _ask(words: str, model: str = SONNET, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": words}], **more}


def _message(content: Any, counts: dict[str, Any], model: str) -> dict[str, Any]:
    """A message with an id of its own: two answers with one id would look like a replay from a cache."""
    return _wire.message(content, counts, model=model, message_id=f"msg_demo_desk_{next(_number)}")


def _chat(model: str, input_tokens: int, output_tokens: int) -> Exchange:
    message = _message(PARCEL, usage(input_tokens, output_tokens), model)
    return answers.answer(message, delay_s=output_tokens / 4000)


def _streamed_chat(model: str, input_tokens: int, output_tokens: int) -> Exchange:
    message = _message(CHARGED_TWICE, usage(input_tokens, output_tokens), model)
    return answers.stream(message, pieces=24, delay_s=0.03, pause_s=0.004)


def _chats(client: anthropic.Anthropic, server: PlayServer) -> None:
    desk = [
        ("ada", "acme", SONNET, 318, 96),
        ("ben", "acme", HAIKU, 276, 74),
        ("cho", "globex", SONNET, 441, 152),
        ("ada", "acme", SONNET, 538, 108),
        ("dev", "initech", HAIKU, 190, 61),
    ]
    for user, customer, model, input_tokens, output_tokens in desk:
        server.add(_chat(model, input_tokens, output_tokens))
        with tag(feature="chat", user=user, customer=customer, session=f"chat-{user}"):
            client.messages.create(**_ask("Where is my parcel?", model))


def _streams(client: anthropic.Anthropic, server: PlayServer) -> None:
    server.add(_streamed_chat(SONNET, 1_204, 212), _streamed_chat(OPUS, 1_377, 245))
    for user, customer, model in [("cho", "globex", SONNET), ("ben", "acme", OPUS)]:
        with (
            tag(feature="chat", user=user, customer=customer, session=f"chat-{user}"),
            client.messages.stream(**_ask("Why was I charged twice?", model)) as stream,
        ):
            stream.until_done()


def _closed_tab(client: anthropic.Anthropic, server: PlayServer) -> None:
    server.add(_streamed_chat(SONNET, 980, 230))
    with (
        tag(feature="chat", user="dev", customer="initech", session="chat-dev"),
        client.messages.create(**_ask("Explain my contract."), stream=True) as stream,
    ):
        for _, event in zip(range(6), stream, strict=False):
            del event


def _manual(client: anthropic.Anthropic, server: PlayServer) -> None:
    """The first call writes the manual to the cache; later ones read it."""
    system: Any = [{"type": "text", "text": "(the manual)", "cache_control": {"type": "ephemeral"}}]
    for user, cached in (("cho", "write_5m"), ("eve", "cache_read"), ("cho", "cache_read"), ("fay", "cache_read")):
        counts = usage(64, 118, **{cached: MANUAL_TOKENS})
        server.add(answers.answer(_message(RESET, counts, SONNET), delay_s=0.05))
        with tag(feature="manual", prompt="manual@v7", customer="globex", user=user, session=f"manual-{user}"):
            client.messages.create(**_ask("How do I reset it?"), system=system)


def _agent(client: anthropic.Anthropic, server: PlayServer) -> None:
    """Three turns of an agent that looks up an order, sends the money back, and says so."""
    find = tool_use("find_order", {"order": "A-1042"}, call_id="toolu_demo_1")
    send = tool_use("send_money_back", {"order": "A-1042", "usd": "24.90"}, call_id="toolu_demo_2")
    turns: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([text("Let me find the order."), find], usage(1_310, 96, write_5m=2_048)),
        ([send], usage(214, 88, cache_read=2_048, output_tokens_details={"thinking_tokens": 31})),
        ([text("Done: $24.90 is on its way back to you.")], usage(187, 42, cache_read=2_048)),
    ]
    server.add(*(answers.answer(_message(blocks, counts, OPUS), delay_s=0.05) for blocks, counts in turns))
    asked = _ask("I want my money back for order A-1042.", OPUS, tools=TOOLS)
    with tag(feature="agent", user="ada", customer="acme", session="agent-1", workflow="refund"):
        while True:
            answer = client.messages.create(**asked)
            calls = [block for block in answer.content if block.type == "tool_use"]
            if not calls:
                return
            results = [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"} for call in calls]
            said = [block.to_dict() for block in answer.content]
            asked["messages"] += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]


def _batch(client: anthropic.Anthropic, server: PlayServer) -> None:
    """A batch that sorts tickets overnight: four succeed, one fails."""
    labels = (("billing", 512), ("delivery", 640), ("billing", 471), ("praise", 588))
    results = {
        f"ticket-{number}": _message(label, usage(input_tokens, 9), HAIKU)
        for number, (label, input_tokens) in enumerate(labels, start=1)
    }
    failed = error("invalid_request_error", "messages: text content blocks must be non-empty")
    server.add(*answers.batch("msgbatch_demo_1", {**results, "ticket-5": failed}, delay_s=0.02))
    tickets: Any = [
        {"custom_id": f"ticket-{number}", "params": _ask("Sort this ticket.", HAIKU)} for number in range(1, 6)
    ]
    with tag(feature="sorting", prompt="sort@v2"):
        created = client.messages.batches.create(requests=tickets)
        for _ in client.messages.batches.results(created.id):
            pass


def _faults(client: anthropic.Anthropic, server: PlayServer) -> None:
    """A rate limit that a retry passes, and an error that no retry can fix."""
    import anthropic

    busy = "This request would exceed your limit."
    server.add(
        answers.failure(429, "rate_limit_error", busy, headers={"retry-after-ms": "40"}),
        _chat(SONNET, 402, 131),
        answers.failure(400, "invalid_request_error", "prompt is too long: 1200311 tokens > 1000000 maximum"),
    )
    with tag(feature="chat", user="eve", customer="globex", session="chat-eve"):
        client.messages.create(**_ask("Is the shop open today?"))
        with suppress(anthropic.BadRequestError):
            client.messages.create(**_ask("Summarize all of these mails: …"))


STEPS: dict[str, Callable[[anthropic.Anthropic, PlayServer], None]] = {
    "five short chats": _chats,
    "a batch with five results": _batch,
    "two streams, read to the end": _streams,
    "a stream whose reader left": _closed_tab,
    "a manual, written to the cache and read from it": _manual,
    "an agent with two tools": _agent,
    "a limit that was hit, and a refused call": _faults,
}
