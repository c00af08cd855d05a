"""Real servers: what they answered is in the ledger, and they stop when they are told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._running import outside_pytest, run_all, wait_for

REASON = "install the dependency group `frameworks` for the tests of servers"
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "unix:socket", "--log-level", "error", "_app:wsgi")
UVICORN = ("uvicorn", "--uds", "socket", "--lifespan", "off", "--log-level", "error", "_app:asgi")
STOP_S = 25.0
"""Less than the 30 s after which gunicorn kills a worker that hangs."""


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket: needs no free port."""

    def __init__(self, path: Path) -> None:
        super().__init__("app", timeout=80)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def is_answering(path: Path) -> bool:
    """Whether a server listens: the file of its socket is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def ask(path: Path, numbers: list[str], answered: list[str]) -> None:
    """Sends requests until the server is gone; `answered` are those that came back."""
    with closing(UnixConnection(path)) as connection, suppress(OSError, HTTPException):
        for number in numbers:
            connection.request("GET", f"/?{number}")
            response = connection.getresponse()
            if response.status == 200 and response.read() == b"done":
                answered.append(number)


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
    command = (*command, str(Path(__file__).parent))
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(partial(is_answering, folder / "socket"))
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
    lost, twice = len(set(answered) - rows.keys()), sum(count > 1 for count in rows.values())
    return len(answered) >= 100, lost, twice


def test_no_server_loses_a_call_or_hangs(server: PlayServer, tmp_path: Path) -> None:
    """gunicorn with and without --preload, sync and threads, and uvicorn, stopped amid requests: 0 lost, 0 twice."""
    pytest.importorskip("gunicorn", reason=REASON)
    pytest.importorskip("uvicorn", reason=REASON)
    servers = {
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
