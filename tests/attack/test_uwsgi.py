"""uWSGI forks its workers without Python's hooks: what they answered is in the ledger, and they stop when told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from tests.processes._running import outside_pytest, wait_for
from tests.processes.test_servers import is_answering

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = Path(__file__).parents[1] / "processes" / "_app.py"
REQUESTS = 40
CLIENTS = 4
STOP_S = 50.0
HOW = {
    "prefork": ["--master"],
    "prefork with threads": ["--master", "--enable-threads"],
    "prefork with several threads": ["--master", "--enable-threads", "--threads", "2"],
    "each worker its app": ["--master", "--lazy-apps"],
    "each worker its app, with threads": ["--master", "--lazy-apps", "--enable-threads"],
    "with hooks": ["--master", "--enable-threads", "--py-call-osafterfork"],
}


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer(_answers.answer(_wire.message("Hello.", _wire.usage(10, 5)), times=None)) as playing:
        yield playing


def ask(path: Path, numbers: list[str], answered: list[str]) -> None:
    """One connection a request, as uWSGI's own HTTP wants it."""
    for number in numbers:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(60)
            asking.connect(str(path))
            asking.sendall(f"GET /?{number} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: asking.recv(65536), b""))
            if answer.endswith(b"done"):
                answered.append(number)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", HOW)
def test_uwsgi_loses_no_call_and_stops(how: str, server: PlayServer, tmp_path: Path) -> None:
    """Three workers of an app that has called before the fork: 0 lost, 0 twice, an end without a kill."""
    uwsgi = Path(sys.executable).with_name("uwsgi")
    if not uwsgi.exists():
        pytest.skip("install the dependency group `attack` for the tests of uWSGI")
    environment = {**outside_pytest(), "APP_DB": str(tmp_path / "ledger.db"), "APP_API": server.url}
    command = [str(uwsgi), "--http-socket", str(tmp_path / "socket"), "--wsgi-file", str(APP), "--callable", "wsgi"]
    command += ["--virtualenv", sys.prefix, "--workers", "3", "--die-on-term", "--need-app", *HOW[how]]
    answered: list[str] = []
    asking = [
        threading.Thread(target=ask, args=(tmp_path / "socket", [f"{n}.{k}" for k in range(REQUESTS)], answered))
        for n in range(CLIENTS)
    ]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(partial(is_answering, tmp_path / "socket"))
        for each in asking:
            each.start()
        for each in asking:
            each.join()
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
    finally:
        # The group of this one server alone.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        rows = Counter(call.tags["number"] for call in ledger.calls(limit=None))
    rows.pop("warm-up")

    assert (len(answered), len(set(answered) - rows.keys())) == (REQUESTS * CLIENTS, 0), (tmp_path / "log").read_text()
    assert max(rows.values()) == 1
