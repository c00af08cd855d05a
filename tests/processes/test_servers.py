"""Real servers: what they answered is in the ledger, and they stop when they are told to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import httpx
import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._running import outside_pytest, run_all, wait_for

REASON = "install the dependency group `frameworks` for the tests of servers"
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "unix:socket", "--log-level", "error", "_app:wsgi")
UVICORN = ("uvicorn", "--uds", "socket", "--lifespan", "off", "--log-level", "error", "_app:asgi")
STOP_S = 25.0
"""Less than the 30 s after which gunicorn kills a worker that hangs."""


def ask(socket: Path, numbers: list[str], answered: list[str]) -> None:
    """Sends requests until the server is gone; `answered` are those that came back."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://app") as client:
        for number in numbers:
            try:
                if client.get("/", params=number, timeout=10).status_code == 200:
                    answered.append(number)
            except httpx.HTTPError:
                return


def serve(command: tuple[str, ...], stop: signal.Signals, folder: Path, api: str) -> tuple[bool, int, int]:
    """Stops a server amid requests: whether 100 at least were answered, how many are lost, how many there twice."""
    folder.mkdir()
    environment = {**outside_pytest(), "APP_DB": str(folder / "ledger.db"), "APP_API": api}
    command = (sys.executable, "-m", *command, *(("--pythonpath",) if "gunicorn" in command else ("--app-dir",)))
    answered: list[str] = []
    clients = [
        threading.Thread(target=ask, args=(folder / "socket", [f"{n}.{k}" for k in range(10_000)], answered))
        for n in range(4)
    ]
    with subprocess.Popen((*command, str(Path(__file__).parent)), cwd=folder, env=environment) as process:
        try:
            wait_for((folder / "socket").exists)
            for client in clients:
                client.start()
            wait_for(lambda: len(answered) >= 100)
            process.send_signal(stop)
            process.wait(STOP_S)
        finally:
            process.kill()
    for client in clients:
        client.join()
    with claudetrace.Ledger(folder / "ledger.db") as ledger:
        rows = Counter(call.tags["number"] for call in ledger.calls(limit=1_000_000))
    rows.pop("warm-up")
    return len(answered) >= 100, len(set(answered) - rows.keys()), sum(count > 1 for count in rows.values())


def test_no_server_loses_a_call_or_hangs(server: PlayServer, tmp_path: Path) -> None:
    """gunicorn with and without --preload, sync and threads, and uvicorn, stopped amid requests: 0 lost, 0 twice."""
    pytest.importorskip("gunicorn", reason=REASON)
    pytest.importorskip("uvicorn", reason=REASON)
    servers = {
        "preload": ((*GUNICORN, "--preload"), signal.SIGTERM),
        "preload threads": ((*GUNICORN, "--preload", "--worker-class", "gthread", "--threads", "4"), signal.SIGTERM),
        "preload quick": ((*GUNICORN, "--preload"), signal.SIGINT),
        "each its own": (GUNICORN, signal.SIGTERM),
        "uvicorn": (UVICORN, signal.SIGTERM),
        "uvicorn interrupted": (UVICORN, signal.SIGINT),
    }
    ended = run_all(
        {
            name: partial(serve, command, stop, tmp_path / str(number), server.url)
            for number, (name, (command, stop)) in enumerate(servers.items())
        }
    )

    assert ended == dict.fromkeys(servers, (True, 0, 0))
