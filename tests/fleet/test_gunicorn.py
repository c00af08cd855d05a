"""gunicorn's workers of two hosts under one budget in a database, forked from a master that had it open."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _asking import HELLO, until

from claudetrace._budgets import _connect
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._budgets._windows import window_of
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer
from tests.alerts._receiver import Receiver
from tests.budgets.test_servers import GUNICORN, SMALL, ask
from tests.processes._running import outside_pytest
from tests.processes.test_servers import STOP_S, is_answering

if TYPE_CHECKING:
    from _postgres import Server

APP = Path(__file__).resolve().parents[1] / "budgets"


def test_preloaded_workers_of_two_hosts_share_a_budget(server: Server, database: str, tmp_path: Path) -> None:
    """Stopped amid requests: exactly what fits was let through on both together, each threshold came once, and nothing
    is left reserved."""
    pytest.importorskip("gunicorn", reason="install the dependency group `frameworks` for the tests of servers")
    hosts: list[Any] = []
    statuses: list[tuple[str, int]] = []
    with PlayServer(_answers.answer(HELLO, times=None)) as api, Receiver() as receiver:
        for name in ("a", "b"):
            place = tmp_path / name
            place.mkdir()
            environment = {**outside_pytest(), "APP_DB": str(place / "ledger.db"), "APP_API": api.url}
            environment |= {"APP_HOOK": f"http://{receiver.at}/hook", "APP_STORE": database}
            command = (sys.executable, "-m", *GUNICORN, "--preload", "--pythonpath", str(APP))
            process = subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.DEVNULL)
            hosts.append((process, place / "socket"))
        clients = [threading.Thread(target=ask, args=(socket, statuses)) for _, socket in hosts for _ in range(3)]
        try:
            for _, socket in hosts:
                until(lambda socket=socket: is_answering(socket), 60)  # type: ignore[misc]
            for client in clients:
                client.start()
            until(lambda: ("small", 429) in statuses and len(statuses) >= 100, 60)
            for process, _ in hosts:
                process.send_signal(signal.SIGTERM)
            assert [process.wait(STOP_S) for process, _ in hosts] == [0, 0]
        finally:
            for process, _ in hosts:
                process.kill()
        for client in clients:
            client.join()
        made = len(api.requests)

    with _connect.view(ServerUrl(database)) as view:
        stored = {each.budget.name: each for each in view.budgets()}
        totals = {name: view.totals(each, "", window_of("total", "UTC", 0)) for name, each in stored.items()}
        told = Counter((raised.alert.budget, raised.alert.threshold) for raised in view.alerts(50))
    assert (totals["small"].calls, totals["small"].reserved_calls) == (SMALL, 0)
    assert (totals["all"].calls, totals["all"].reserved_calls) == (made, 0)
    assert max(count for (budget, threshold), count in told.items() if threshold) == 1
