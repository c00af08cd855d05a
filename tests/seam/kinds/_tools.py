"""What the SDK's own helpers make of several calls: tool runners and threads."""

from __future__ import annotations

from typing import Any

import anthropic

from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer

from ._kit import ASK, Kind, Steps, each, is_async, seen
from ._plays import json_answer, streamed
from ._rows import ANSWERED, COUNTS, MESSAGE, MODEL

ASKS = _wire.message(
    [_wire.tool_use("double", {"number": 21}, call_id="toolu_1")], COUNTS, message_id="msg_seam_0", model=MODEL
)
THREADED = {**MESSAGE, "thread": {"id": "thread_1"}}


@anthropic.beta_tool
def double(number: int) -> str:
    """Twice a number.

    Args:
        number: any number.
    """
    return str(2 * number)


@anthropic.beta_async_tool(name="double")
async def double_async(number: int) -> str:
    """Twice a number.

    Args:
        number: any number.
    """
    return str(2 * number)


def _tools(client: Any) -> list[Any]:
    return [double_async if is_async(client) else double]


def runner(client: Any, server: PlayServer) -> Steps:
    run = client.beta.messages.tool_runner(**ASK, tools=_tools(client))
    messages = yield each(run)
    return seen(run), seen(messages)


def runner_to_its_end(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.tool_runner(**ASK, tools=_tools(client)).until_done()))


def runner_streamed(client: Any, server: PlayServer) -> Steps:
    run = client.beta.messages.tool_runner(**ASK, tools=_tools(client), stream=True)
    streams = yield each(run)
    return seen(run), seen(streams)


def thread(client: Any, server: PlayServer) -> Steps:
    talk = client.beta.messages.thread(**ASK, unsupported_request_behavior="continue_unthreaded")
    reply = yield talk.send()
    return seen(talk), seen(reply)


def has_threads() -> bool:
    return hasattr(anthropic.resources.beta.messages.messages.Messages, "thread")


def rows(**shape: Any) -> list[dict[str, Any]]:
    """Two calls: one is answered by a wish for the tool, the other has its result."""
    turn = {**ANSWERED, "message_id": "msg_seam_0", "stop_reason": "tool_use", "tool_calls": 1, "tools_offered": 1}
    # Where the SDK has threads, it sends only what is new.
    sent = {"message_count": 1} if has_threads() else {"message_count": 3, "tools_offered": 1}
    return [{**turn, **shape}, {**ANSWERED, **sent, "call": 2, **shape}]


KINDS = [
    Kind(name="tool_runner", call=runner, plays=lambda: [json_answer(ASKS), json_answer()], rows=rows()),
    Kind(
        name="tool_runner, until_done",
        call=runner_to_its_end,
        plays=lambda: [json_answer(ASKS), json_answer()],
        rows=rows(),
    ),
    Kind(
        name="tool_runner, streamed",
        call=runner_streamed,
        plays=lambda: [streamed(_wire.stream_events(ASKS)), streamed()],
        rows=rows(streamed=True),
    ),
    Kind(name="thread", call=thread, plays=lambda: [json_answer()], rows=[ANSWERED], needs=has_threads),
]
