"""What the messages of a CLI tell by themselves, played through a user's own `Transport`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace.cli import main

from .written import MODEL, PICOUSD, USAGE, record, write

sdk = pytest.importorskip("claude_agent_sdk")

BEGUN = {**USAGE, "output_tokens": 1}
SESSION = {"session_id": "session-1", "parent_tool_use_id": None}
OUTPUT = 15_000_000
INIT = {
    "type": "system",
    "subtype": "init",
    "cwd": "/src/shop",
    "apiKeySource": "none",
    "claude_code_version": "2.1.332",
}


class Played(sdk.Transport):
    """A transport of the user's own: it says `messages` when it is asked."""

    def __init__(self, *messages: Any) -> None:
        self.messages = messages
        self.written: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None: ...

    async def write(self, data: str) -> None:
        await self.written.put(json.loads(data))

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        asked = await self.written.get()
        response = {"subtype": "success", "request_id": asked["request_id"], "response": {}}
        yield {"type": "control_response", "response": response}
        await self.written.get()
        for message in ({**INIT, **SESSION}, *self.messages):
            if callable(message):
                await message()
            else:
                yield message

    async def close(self) -> None: ...

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None: ...


def said(message_id: str, usage: Any = BEGUN, **further: Any) -> dict[str, Any]:
    """A message of the assistant, as a CLI says it: without its last counts."""
    told = record(message_id, 1, usage=usage, stop_reason=None)
    return {"type": "assistant", "message": told["message"], "timestamp": told["timestamp"], **SESSION, **further}


def result(responses: int, **further: Any) -> dict[str, Any]:
    """A result, with the CLI's running totals over as many responses."""
    counts = {
        "inputTokens": USAGE["input_tokens"] * responses,
        "outputTokens": USAGE["output_tokens"] * responses,
        "cacheReadInputTokens": USAGE["cache_read_input_tokens"] * responses,
        "cacheCreationInputTokens": USAGE["cache_creation_input_tokens"] * responses,
    }
    return {
        "type": "result",
        "subtype": "success",
        "duration_ms": 1,
        "duration_api_ms": 1,
        "is_error": False,
        "num_turns": 1,
        "total_cost_usd": PICOUSD * responses / 1e12,
        "modelUsage": {MODEL: counts},
        "usage": {},
        "session_id": "session-1",
        **further,
    }


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "config"


async def play(*messages: Any) -> list[Any]:
    return [message async for message in sdk.query(prompt="go", transport=Played(*messages))]


def costs(calls: list[claudetrace.Call]) -> dict[str | None, int | None]:
    return {call.message_id: call.cost_picousd for call in calls}


async def test_without_a_transcript(config: Path, rows: Callable[[], list[Any]]) -> None:
    """Of what messages leave out, one row makes up by model: the sum is the CLI's own, and flagged."""
    with claudetrace.tag(feature="far") as scope:
        messages = await play(said("msg_1"), said("msg_1"), said("msg_2"), result(2))

    calls = rows()
    cut = PICOUSD - 39 * OUTPUT
    assert costs(calls) == {"msg_1": cut, "msg_2": cut, None: 2 * 39 * OUTPUT}
    assert {call.cost_flags for call in calls} == {("partial_usage",), ("agent_mismatch",)}
    assert {call.billing for call in calls} == {"credit"}
    assert {call.feature for call in calls} == {"far"}
    assert scope.cost_usd == sum(call.cost_usd or 0 for call in calls)
    assert [type(message).__name__ for message in messages][-1] == "ResultMessage"


async def test_an_import_completes_it(config: Path, rows: Callable[[], list[Any]], db: Path) -> None:
    """The transcript of another host completes the rows, and what stood for the rest goes."""
    await play(said("msg_1"), said("msg_2"), result(2))
    before = {call.message_id: call.id for call in rows()}
    transcript = write(config / "projects" / "p" / "session-1.jsonl", record("msg_1", 1), record("msg_2", 1))

    for _ in range(2):
        CliRunner().invoke(main, ["import", "claude-code", "--dir", str(transcript.parent), "--db", str(db)])

    calls = rows()
    assert costs(calls) == {"msg_1": PICOUSD, "msg_2": PICOUSD}
    assert {call.id for call in calls} == {before["msg_1"], before["msg_2"]}
    with claudetrace.Ledger(db) as ledger:
        (spent,) = ledger.spend(by=None, since="2026-11-01")
    assert (spent.responses, spent.cost_usd) == (2, sum(call.cost_usd or 0 for call in calls))


async def test_partial_messages_tell_all(config: Path, rows: Callable[[], list[Any]]) -> None:
    """Several `message_delta` of one response are running totals: the last one counts."""

    def event(**told: Any) -> dict[str, Any]:
        return {"type": "stream_event", "event": told, "uuid": "u", **SESSION}

    await play(
        event(type="message_start", message={"id": "msg_1", "usage": BEGUN}),
        said("msg_1"),
        event(type="message_delta", delta={"stop_reason": None}, usage={"output_tokens": 20}),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 40}),
        result(1),
    )

    (call,) = rows()
    assert (call.cost_picousd, call.cost_flags, call.usage_is_final) == (PICOUSD, (), True)


async def test_no_result_comes(config: Path, rows: Callable[[], list[Any]]) -> None:
    """Where the process ends without a result, what was seen is recorded."""
    await play(said("msg_1"), said("msg_2"))

    assert costs(rows()).keys() == {"msg_1", "msg_2"}


async def test_the_totals_begin_anew(config: Path, rows: Callable[[], list[Any]]) -> None:
    """After a reset of the conversation the CLI's totals are those of what comes after it."""
    reset = {"type": "conversation_reset", "new_conversation_id": "n", "uuid": "u", "session_id": "session-2"}
    await play(said("msg_1", USAGE), result(1), reset, said("msg_2", USAGE), result(1))

    assert [call.message_id for call in rows()] == ["msg_1", "msg_2"]


async def test_a_store_of_sessions(config: Path, rows: Callable[[], list[Any]]) -> None:
    """What the CLI mirrors for a user's own store of sessions is as good as its transcript."""
    mirror = {"type": "transcript_mirror", "filePath": "f", "entries": [record("msg_1", 1)]}
    await play(said("msg_1"), mirror, result(1))

    (call,) = rows()
    assert (call.cost_picousd, call.usage_is_final) == (PICOUSD, True)


async def test_a_subagent_by_its_name(config: Path, rows: Callable[[], list[Any]]) -> None:
    """A subagent has the name under which the tool was called that started it."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "Task", "input": {"subagent_type": "reviewer"}}
    first = said("msg_1")
    first["message"]["content"] = [call]
    await play(first, said("msg_2", parent_tool_use_id="toolu_1"))

    assert {each.message_id: each.agent for each in rows()} == {"msg_1": None, "msg_2": "reviewer"}


async def test_a_query_that_is_cancelled(config: Path, rows: Callable[[], list[Any]]) -> None:
    """A cancellation reaches the caller, and what was seen before it is recorded."""
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(play(said("msg_1"), hang))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)

    assert costs(rows()).keys() == {"msg_1"}


async def test_a_mock_is_left_alone(config: Path, rows: Callable[[], list[Any]]) -> None:
    """A transport that is a mock behaves as it was told to."""
    mock = AsyncMock(spec=sdk.Transport)
    mock.read_messages = Played(said("msg_1")).read_messages
    client = sdk.ClaudeSDKClient(transport=mock)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(client.connect(), 0.2)

    mock.connect.assert_awaited_once()


async def test_sources_that_are_not_wanted(config: Path, start: Callable[..., Any], ledger: Callable[[], Any]) -> None:
    """With `sources=("anthropic",)` no agent is watched; after that all are again."""
    start(sources=("anthropic",))
    await play(said("msg_1"))
    start()
    await play(said("msg_2"))

    assert [call.message_id for call in ledger()] == ["msg_2"]


async def test_spans(config: Path, rows: Callable[[], list[Any]]) -> None:
    """A query is one span below the caller's, with a child for each response; costs are on the children alone."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        with provider.get_tracer("app").start_as_current_span("request") as request:
            await play(said("msg_1", USAGE), said("msg_2", USAGE), result(2))
        calls = rows()

    spans = {span.name: span for span in exporter.get_finished_spans()}
    agent = spans["invoke_agent claude-code"]
    children = [span for span in exporter.get_finished_spans() if span.name.startswith("chat")]
    assert agent.parent.span_id == request.get_span_context().span_id
    assert {child.parent.span_id for child in children} == {agent.context.span_id}
    assert {call.span_id for call in calls if call.message_id} <= {f"{each.context.span_id:016x}" for each in children}
    assert "claudetrace.cost.usd" not in agent.attributes
    assert agent.attributes["gen_ai.conversation.id"] == "session-1"
    told = sum(child.attributes["claudetrace.cost.usd"] for child in children)
    assert told == pytest.approx(sum(float(call.cost_usd or 0) for call in calls), abs=1e-12)
