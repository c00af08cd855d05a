"""Plays the demo's calls through the anthropic SDK, tagged as a help desk would tag them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claudetrace._demo import _exchanges as exchanges
from claudetrace._demo._exchanges import HAIKU, OPUS, SONNET
from claudetrace._demo._server import PlayServer

if TYPE_CHECKING:
    from collections.abc import Callable

    import anthropic

TOOLS: Any = [
    {"name": name, "description": words, "input_schema": {"type": "object", "properties": {}}}
    for name, words in {"find_order": "Finds an order.", "send_money_back": "Sends money back."}.items()
]


def play(port: int = 0, on_step: Callable[[str], None] | None = None) -> None:
    """Makes the demo's calls, to a server on loopback. They are recorded if `instrument()` is running."""
    import anthropic

    with PlayServer(port=port) as server:
        client = anthropic.Anthropic(
            base_url=server.url,
            api_key="demo",
            # A proxy of the environment would send loopback's calls out.
            http_client=anthropic.DefaultHttpxClient(trust_env=False),
        )
        with client:
            for words, step in STEPS.items():
                if on_step is not None:
                    on_step(words)
                step(client, server)


def _ask(words: str, model: str = SONNET, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 1024, "messages": [{"role": "user", "content": words}], **more}


def _chats(client: anthropic.Anthropic, server: PlayServer) -> None:
    from claudetrace import tag

    desk = [
        ("ada", "acme", SONNET, 318, 96),
        ("ben", "acme", HAIKU, 276, 74),
        ("cho", "globex", SONNET, 441, 152),
        ("ada", "acme", SONNET, 538, 108),
        ("dev", "initech", HAIKU, 190, 61),
    ]
    for user, customer, model, input_tokens, output_tokens in desk:
        server.add(exchanges.chat(model, input_tokens, output_tokens))
        with tag(feature="chat", user=user, customer=customer, session=f"chat-{user}"):
            client.messages.create(**_ask("Where is my parcel?", model))


def _streams(client: anthropic.Anthropic, server: PlayServer) -> None:
    from claudetrace import tag

    server.add(exchanges.streamed_chat(SONNET, 1_204, 212), exchanges.streamed_chat(OPUS, 1_377, 245))
    for user, customer, model in [("cho", "globex", SONNET), ("ben", "acme", OPUS)]:
        with (
            tag(feature="chat", user=user, customer=customer, session=f"chat-{user}"),
            client.messages.stream(**_ask("Why was I charged twice?", model)) as stream,
        ):
            stream.until_done()


def _closed_tab(client: anthropic.Anthropic, server: PlayServer) -> None:
    from claudetrace import tag

    server.add(exchanges.streamed_chat(SONNET, 980, 230))
    with (
        tag(feature="chat", user="dev", customer="initech", session="chat-dev"),
        client.messages.create(**_ask("Explain my contract."), stream=True) as stream,
    ):
        for _, event in zip(range(6), stream, strict=False):
            del event


def _manual(client: anthropic.Anthropic, server: PlayServer) -> None:
    from claudetrace import tag

    system: Any = [{"type": "text", "text": "(the manual)", "cache_control": {"type": "ephemeral"}}]
    server.add(*(exchanges.manual(first=number == 0) for number in range(4)))
    with tag(feature="manual", prompt="manual@v7", customer="globex"):
        for user in ("cho", "eve", "cho", "fay"):
            with tag(user=user, session=f"manual-{user}"):
                client.messages.create(**_ask("How do I reset it?"), system=system)


def _agent(client: anthropic.Anthropic, server: PlayServer) -> None:
    from claudetrace import tag

    server.add(*exchanges.tool_loop())
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
    from claudetrace import tag

    server.add(*exchanges.night_batch())
    with tag(feature="sorting", prompt="sort@v2"):
        tickets: Any = [
            {"custom_id": f"ticket-{number}", "params": _ask("Sort this ticket.", HAIKU)} for number in range(1, 6)
        ]
        created = client.messages.batches.create(requests=tickets)
        for _ in client.messages.batches.results(created.id):
            pass


def _faults(client: anthropic.Anthropic, server: PlayServer) -> None:
    import anthropic

    from claudetrace import tag

    server.add(*exchanges.busy_then_answered(), exchanges.refused())
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
