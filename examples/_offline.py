"""Lets the examples run without a key: where ANTHROPIC_API_KEY is not set, a server on loopback plays the API.

With a key they call the real API, and cost a fraction of a cent.
"""

import atexit
import os
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import replace

from claudetrace._demo import _answers as answers
from claudetrace._demo._server import Exchange, PlayServer
from claudetrace._demo._wire import message, text, tool_use, usage

MODEL = "claude-haiku-5-5"
SAID = message("The meter runs: every call is one row in the ledger.", usage(24, 14), model=MODEL)
ASKED = message([text("I look the weather up."), tool_use("weather", {"city": "Oslo"})], usage(412, 58), model=MODEL)
TOLD = message("It snows in Oslo; take the warm coat.", usage(503, 17), model=MODEL)
AGAIN = message([text("Let me look further."), tool_use("search", {"query": "meter"})], usage(900, 64), model=MODEL)
RESULTS = {f"ticket-{number}": message("billing", usage(310, 4), model=MODEL) for number in (1, 2, 3)}


def last_is_tool_result(body: dict) -> bool:
    content = body["messages"][-1]["content"]
    return isinstance(content, list) and content[0].get("type") == "tool_result"


def offers_search(body: dict) -> bool:
    return any(tool["name"] == "search" for tool in body.get("tools", ()))


def anew(exchange: Exchange) -> Exchange:
    """The same answer to each request, under an id of its own: an id that comes twice is an answer from a cache."""
    pieces = [exchange.body] if isinstance(exchange.body, bytes) else list(exchange.body)

    def body(_request: object) -> bytes | list[bytes]:
        sent = [piece.replace(b"msg_demo_1", f"msg_{uuid.uuid4().hex}".encode()) for piece in pieces]
        return sent[0] if isinstance(exchange.body, bytes) else sent

    return replace(exchange, body=body)


def play() -> None:
    played = ExitStack()
    atexit.register(played.close)
    server = played.enter_context(
        PlayServer(
            *answers.batch("msgbatch_example", RESULTS),
            anew(answers.stream(SAID, when=lambda body: body.get("stream"), times=None)),
            anew(answers.answer(AGAIN, when=offers_search, times=None)),
            anew(answers.answer(TOLD, when=last_is_tool_result, times=None)),
            anew(answers.answer(ASKED, when=lambda body: body.get("tools"), times=None)),
            anew(answers.answer(SAID, times=None)),
        )
    )
    os.environ.update(ANTHROPIC_API_KEY="demo", ANTHROPIC_BASE_URL=server.url, NO_PROXY="127.0.0.1")
    # What is played is no spend, so it stays out of the user's ledger.
    folder = tempfile.TemporaryDirectory(prefix="claudetrace-example-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    os.environ.setdefault("CLAUDETRACE_DB", f"{folder.name}/ledger.db")


if not os.environ.get("ANTHROPIC_API_KEY"):
    play()
