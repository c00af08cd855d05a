"""Whom the dashboard answers: a page of another site that leads its name to this machine gets nothing."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ._made import plain_row, write

JSON = "/ledger/calls.json"


@contextmanager
def dashboard(ledger: Path, *words: str) -> Iterator[Callable[..., tuple[int, str]]]:
    """A dashboard in a process of its own; gives what it answers to a request that names some hosts."""
    command = [sys.executable, "-m", "claudetrace", "dashboard", "--db", ledger, "--no-open", "--port", "0", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+)/", process.stdout.readline())
            assert found is not None

            def answer(*hosts: str, to: str = "127.0.0.1") -> tuple[int, str]:
                asking = http.client.HTTPConnection(to, int(found[1]), timeout=30)
                asking.putrequest("GET", JSON, skip_host=True)
                for host in hosts:
                    asking.putheader("Host", host.replace("PORT", found[1]))
                asking.endheaders()
                response = asking.getresponse()
                told = response.status, response.read().decode()
                asking.close()
                return told

            yield answer
        finally:
            process.terminate()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger.db", [plain_row(time.time_ns() - 10**12)])


def test_a_foreign_name_for_this_machine_gets_nothing(ledger: Path) -> None:
    """Only `localhost` and the address that a request came to are answered; other names get 400 and the way out."""
    served = ("127.0.0.1:PORT", "127.0.0.1", "localhost:PORT", "LocalHost.", "[::ffff:127.0.0.1]:PORT")
    foreign = ("evil.example", "evil.example:PORT", "localhost.evil.example", "192.0.2.7", "[::1]:PORT", "", "127.1")
    with dashboard(ledger) as answer:
        told = {host: answer(host) for host in (*served, *foreign)}
        none, two = answer(), answer("localhost", "evil.example")

    assert {host: told[host][0] for host in served} == dict.fromkeys(served, 200)
    assert {host: told[host][0] for host in foreign} == dict.fromkeys(foreign, 400)
    assert all("812" not in told[host][1] for host in foreign)
    assert "--allow-host" in told["evil.example"][1]
    assert (none[0], two[0]) == (400, 400)


def test_hosts_that_are_allowed(ledger: Path) -> None:
    """On all addresses it answers for each of them and for every `--allow-host`, and still for no other name."""
    with dashboard(
        ledger, "--host", "0.0.0.0", "--insecure", "--allow-host", "Team.example", "--allow-host", "b:1"
    ) as answer:
        told = [answer(host)[0] for host in ("team.example:PORT", "b", "127.0.0.1:PORT", "127.0.0.2", "evil.example")]
        second = answer("127.0.0.2:PORT", to="127.0.0.2")[0]

    assert (told, second) == ([200, 200, 200, 400, 400], 200)
