"""Libraries that call Claude through the SDK: one call and one stream of each is seen like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

from ._api import ASK, HELLO, HELLO_USD, REASON, facts, seen

Ledger = Callable[[], list[claudetrace.Call]]
TEXT = HELLO["content"][0]["text"]


class Person(BaseModel):
    name: str
    age: int


def test_langchain(server: PlayServer, ledger: Ledger) -> None:
    """`invoke` and `stream` of langchain-anthropic: tokens, cost and the block's tags."""
    langchain = pytest.importorskip("langchain_anthropic", reason=f"langchain-anthropic {REASON}")
    chat = langchain.ChatAnthropic(model=ASK["model"], api_key="k", base_url=server.url, max_retries=0)
    with claudetrace.tag(user="u") as scope:
        whole = chat.invoke("Hello?")
        streamed = "".join(str(chunk.text) for chunk in chat.stream("Hello?"))

    assert (str(whole.text), streamed) == (TEXT, TEXT)
    assert [facts(call) for call in ledger()] == [seen(streamed=False), seen(streamed=True)]
    assert ([call.user_id for call in ledger()], scope.calls, scope.cost_usd) == (["u", "u"], 2, 2 * HELLO_USD)


async def test_langchain_async(server: PlayServer, ledger: Ledger) -> None:
    """`ainvoke` and `astream` are the same on the loop."""
    langchain = pytest.importorskip("langchain_anthropic", reason=f"langchain-anthropic {REASON}")
    chat = langchain.ChatAnthropic(model=ASK["model"], api_key="k", base_url=server.url, max_retries=0)
    await chat.ainvoke("Hello?")
    streamed = "".join([str(chunk.text) async for chunk in chat.astream("Hello?")])
    await chat._async_client.close()

    assert streamed == TEXT
    assert [facts(call) for call in ledger()] == [seen(streamed=False), seen(streamed=True)]


async def test_pydantic_ai(server: PlayServer, async_client: anthropic.AsyncAnthropic, ledger: Ledger) -> None:
    """An agent's `run` and `run_stream` of pydantic-ai: tokens, cost and the tagged client's tags."""
    pydantic_ai = pytest.importorskip("pydantic_ai", reason=f"pydantic-ai {REASON}")
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    before = len(server.requests)
    bound = claudetrace.tagged(async_client, customer="acme")
    agent = pydantic_ai.Agent(AnthropicModel(ASK["model"], provider=AnthropicProvider(anthropic_client=bound)))
    whole = await agent.run("Hello?")
    async with agent.run_stream("Hello?") as running:
        streamed = await running.get_output()

    # Whether `run` asks for a stream is the library's to choose.
    asked = [bool(request.json.get("stream")) for request in server.requests[before:]]
    assert (whole.output, streamed, len(asked), asked[-1]) == (TEXT, TEXT, 2, True)
    assert [facts(call) for call in ledger()] == [seen(streamed=each) for each in asked]
    assert [call.customer for call in ledger()] == ["acme", "acme"]


def test_instructor(server: PlayServer, ledger: Ledger) -> None:
    """A structured answer and a partial stream of instructor: both calls with tokens, cost and their tool."""
    instructor = pytest.importorskip("instructor", reason=f"instructor {REASON}")
    block = _wire.tool_use("Person", {"name": "Ada", "age": 36})
    ada: dict[str, Any] = _wire.message([block], _wire.usage(1_000, 50))
    with (
        PlayServer(_answers.stream(ada, when=lambda body: bool(body.get("stream"))), _answers.answer(ada)) as playing,
        anthropic.Anthropic(api_key="k", base_url=playing.url, max_retries=0) as client,
    ):
        structured = instructor.from_anthropic(claudetrace.tagged(client, customer="acme"))
        whole = structured.messages.create(**ASK, response_model=Person)
        partial = list(structured.messages.create_partial(**ASK, response_model=Person))[-1]

    assert (whole.model_dump(), partial.model_dump()) == ({"name": "Ada", "age": 36},) * 2
    assert [facts(call) for call in ledger()] == [seen(streamed=False), seen(streamed=True)]
    assert [(call.customer, call.tool_calls) for call in ledger()] == [("acme", 1), ("acme", 1)]
