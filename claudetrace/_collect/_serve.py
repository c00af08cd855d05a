"""Serves the application, and ends connections of senders that send no request."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from claudetrace._clock import monotonic
from claudetrace._collect._app import App
from claudetrace._collect._intake import Intake
from claudetrace._collect._tokens import VARIABLE, Tokens
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from claudetrace._config import Settings

HEADERS_S = 10.0
LOOK_S = 2.0
MOST_CONNECTIONS = 2_000


def tokens_of(host: str, *, is_loopback: bool) -> Tokens:
    """The tokens that the environment has. Raises `ClaudetraceError` where `host` needs some and there are none."""
    tokens = Tokens(os.environ.get(VARIABLE, ""))
    if not tokens and not is_loopback:
        raise ClaudetraceError(
            f"--listen {host} takes records from everybody who reaches it; give each service a token: "
            f'{VARIABLE}="desk=…,search=…", and put TLS in front'
        )
    return tokens


def serve(db: Path, settings: Settings, tokens: Tokens, listener: socket.socket, rate: float) -> None:
    """Takes records into the ledger `db` until the process is told to end."""
    intake = Intake(db, settings, Guard())
    config = uvicorn.Config(
        App(intake, tokens, rate), lifespan="off", log_level="warning", access_log=False, proxy_headers=False,
        server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=10, ws="none",
    )  # fmt: skip
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_until_the_end(uvicorn.Server(config), listener))
    finally:
        intake.close()


async def _until_the_end(server: uvicorn.Server, listener: socket.socket) -> None:
    looking = asyncio.create_task(_end_idle(server))
    try:
        await server.serve(sockets=[listener])
    finally:
        looking.cancel()


async def _end_idle(server: uvicorn.Server) -> None:
    """Closes connections on which for some time no request has been under way."""
    since: dict[Any, float] = {}
    while True:
        await asyncio.sleep(LOOK_S)
        idle = {each for each in server.server_state.connections if not _is_busy(each)}
        since = {each: since.get(each, monotonic()) for each in idle}
        for each, at in since.items():
            if monotonic() - at > HEADERS_S and each.transport is not None:
                each.transport.close()


def _is_busy(connection: Any) -> bool:
    cycle = connection.cycle
    return cycle is not None and not cycle.response_complete
