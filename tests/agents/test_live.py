"""What the Agent SDK's queries cost, by the bill of the API that answered them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

import claudetrace

from .billing import Api

sdk = pytest.importorskip("claude_agent_sdk")

IS_NEW = hasattr(sdk, "ConversationResetMessage")
Rows = Callable[[], list[claudetrace.Call]]
Options = Callable[..., Any]


async def ask(prompt: Any, options: Any) -> list[Any]:
    return [message async for message in sdk.query(prompt=prompt, options=options)]


def results(messages: list[Any]) -> list[Any]:
    return [message for message in messages if isinstance(message, sdk.ResultMessage)]


def check(api: Api, calls: list[claudetrace.Call]) -> None:
    """Each response that was billed is one row of what the bill says, and no row is anything else."""
    assert {call.message_id: call.cost_picousd for call in calls} == api.billed()
    assert len(calls) == len(api.bill)
    # Until 2.1.214 or so the CLI priced writes for an hour as those for five minutes.
    assert {call.cost_flags for call in calls} <= ({()} if IS_NEW else {(), ("agent_mismatch",)})
    assert {call.message_id: call.request_id for call in calls} == {b.message_id: b.request_id for b in api.bill}


async def test_a_plain_query(api: Api, options: Options, rows: Rows) -> None:
    """A query is a row with its split of cache writes, and its tags' block knows the cost at once."""
    with claudetrace.tag(feature="search", team="a") as scope:
        (result,) = results(await ask("PLEASE answer", options()))

    (call,) = rows()
    check(api, [call])
    assert (scope.calls, scope.cost_usd) == (1, call.cost_usd)
    assert not IS_NEW or float(call.cost_usd or 0) == pytest.approx(result.total_cost_usd, abs=1e-12)
    assert (call.source, call.billing, call.operation) == ("agent_sdk", "api", "messages.create")
    assert (call.feature, dict(call.tags), call.session_id) == ("search", {"team": "a"}, result.session_id)
    assert (call.cache_write_5m_tokens, call.cache_write_1h_tokens) == (100, 200)
    assert (call.usage_is_final, call.stop_reason, call.outcome) == (True, "end_turn", "ok")


async def test_a_loop_of_tools(api: Api, options: Options, rows: Rows) -> None:
    """Each turn of a loop is a row."""
    await ask("PLEASE tools=3 go", options())

    calls = rows()
    check(api, calls)
    assert [call.stop_reason for call in calls] == ["tool_use", "tool_use", "tool_use", "end_turn"]


async def test_subagents(api: Api, options: Options, rows: Rows) -> None:
    """The responses of two subagents at once are rows by the subagent's name."""
    messages = await ask("PLEASE agents=2 go", options())

    calls = rows()
    check(api, calls)
    assert {call.agent for call in calls} == {None, "helper0", "helper1"}
    spent = sum(call.cost_usd or 0 for call in calls)
    assert not IS_NEW or float(spent) == pytest.approx(results(messages)[-1].total_cost_usd, abs=1e-12)


async def test_three_queries_at_once(api: Api, options: Options, rows: Rows) -> None:
    """Queries that run at once keep their own tags and sessions."""

    async def tagged(number: int) -> None:
        with claudetrace.tag(customer=f"c{number}"):
            await ask(f"PLEASE tools=1 number {number}", options())

    await asyncio.gather(*(tagged(number) for number in range(3)))

    calls = rows()
    check(api, calls)
    asked = {each.message_id: each.prompt.split()[3] for each in api.bill}
    assert {call.customer == f"c{asked[str(call.message_id)]}" for call in calls} == {True}
    assert len({call.session_id for call in calls}) == 3


async def test_a_client_with_four_turns(api: Api, options: Options, rows: Rows) -> None:
    """Each turn of a client has the tags that were in force where it was asked; running totals are no rows."""
    async with sdk.ClaudeSDKClient(options()) as client:
        for number in range(4):
            with claudetrace.tag(prompt=f"p{number}"):
                await client.query(f"PLEASE tools={number % 2} go")
                told = [message async for message in client.receive_response()]

    calls = rows()
    check(api, calls)
    assert sorted(str(call.prompt) for call in calls) == ["p0", "p1", "p1", "p2", "p3", "p3"]
    spent = sum(call.cost_usd or 0 for call in calls)
    assert not IS_NEW or float(spent) == pytest.approx(results(told)[-1].total_cost_usd, abs=1e-12)


@pytest.mark.skipif(
    not hasattr(sdk, "StreamEvent"), reason="not available: this version of the SDK has no such message"
)
@pytest.mark.parametrize("partial", [True, False])
async def test_partial_messages(api: Api, options: Options, rows: Rows, partial: bool) -> None:
    """Events of a stream change nothing, and come only to who asked for them."""
    messages = await ask("PLEASE tools=1 go", options(include_partial_messages=partial))

    check(api, rows())
    assert any(isinstance(message, sdk.StreamEvent) for message in messages) == partial


async def test_streamed_input(api: Api, options: Options, rows: Rows) -> None:
    """What is asked by a stream of messages is counted under the tags of the query."""

    async def said() -> Any:
        for number in range(2):
            content = f"PLEASE tell {number}"
            yield {"type": "user", "message": {"role": "user", "content": content}, "parent_tool_use_id": None}

    with claudetrace.tag(feature="stream"):
        await ask(said(), options())

    calls = rows()
    check(api, calls)
    assert {call.feature for call in calls} == {"stream"}


async def test_an_interrupt(api: Api, options: Options, rows: Rows) -> None:
    """What was billed before an interrupt is there; so is what is asked after it."""
    api.slow_s = 1.5
    async with sdk.ClaudeSDKClient(options()) as client:
        await client.query("PLEASE answer slow")
        await asyncio.to_thread(api.started.wait, 30)
        await client.interrupt()
        [message async for message in client.receive_response()]
        await client.query("PLEASE answer again")
        [message async for message in client.receive_response()]

    calls = rows()
    billed = api.billed()
    again = {each.message_id for each in api.bill if "again" in each.prompt}
    whole = {call.message_id: call.cost_picousd for call in calls if call.usage_is_final and call.message_id}
    assert again <= whole.keys()
    assert whole.items() <= billed.items()
    # Of what was cut the CLI guesses the output: that much is beside it.
    assert {call.cost_flags for call in calls} <= {(), ("partial_usage",), ("agent_mismatch",)}


async def test_resume_and_fork(api: Api, options: Options, rows: Rows) -> None:
    """A session that goes on in another process counts what is new, though its transcript holds what is old."""
    (first,) = results(await ask("PLEASE tools=1 go", options()))
    await ask("PLEASE answer more", options(resume=first.session_id))
    await ask("PLEASE answer fork", options(resume=first.session_id, fork_session=True))

    calls = rows()
    check(api, calls)
    assert len({call.session_id for call in calls}) == 2


@pytest.mark.skipif(not IS_NEW, reason="not available: this version of the SDK knows no reset")
async def test_clear(api: Api, options: Options, rows: Rows) -> None:
    """After `/clear` the totals begin anew, and rows go on."""
    async with sdk.ClaudeSDKClient(options()) as client:
        for prompt in ("PLEASE tools=1 go", "/clear", "PLEASE answer"):
            await client.query(prompt)
            [message async for message in client.receive_response()]

    check(api, rows())


async def test_an_error_and_a_retry(api: Api, options: Options, rows: Rows) -> None:
    """A refused attempt is not billed and no row; the one that is answered is one."""
    api.fail_next = 1
    await ask("PLEASE answer", options())

    assert api.refused == 1
    check(api, rows())


async def test_the_cli_is_killed(api: Api, options: Options, rows: Rows) -> None:
    """What a CLI has said that is killed is counted, and the caller gets the SDK's own error."""
    api.slow_s = 1
    client = sdk.ClaudeSDKClient(options())
    await client.connect()
    await client.query("PLEASE tools=1 go slow")

    async def kill_it_when_it_speaks() -> None:
        async for message in client.receive_messages():
            if isinstance(message, sdk.AssistantMessage):
                os.kill(client._transport._process.pid, signal.SIGKILL)

    with pytest.raises(Exception, match="exit code"):
        await kill_it_when_it_speaks()
    await client.disconnect()

    (call,) = rows()
    assert (call.usage_is_final, call.cost_flags, call.input_tokens) == (False, ("partial_usage",), 1000)


async def test_there_is_no_cli(options: Options, start: Callable[..., Any], ledger: Rows) -> None:
    """Without a CLI the caller gets the SDK's own error, and nothing of ours fails."""
    running = start()
    with pytest.raises(sdk.CLINotFoundError):
        await ask("PLEASE answer", options(cli_path="/no/claude"))

    assert dict(running.health.failures) == {}
