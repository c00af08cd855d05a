"""Several hosts under one budget in a real PostgreSQL, directly and through PgBouncer in transaction mode.

Each crowd calls the SDK until the budget is used up, with failures, cut streams, SIGKILLs and a server that crashes
and comes back; a server on loopback bills. Runs in an environment of its own; see `run.py`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _hosts
from _callers import ASK
from _postgres import PASSWORD, Server, free_port

import claudetrace
from claudetrace._budgets import _connect
from claudetrace._budgets._postgres._schema import init
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._budgets._windows import window_of
from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

SPAWN = multiprocessing.get_context("spawn")
HOSTS, PROCESSES, KILLS = 2, 4, 3
LONGEST_S = 240
JSON, SSE = {"content-type": "application/json"}, {"content-type": "text/event-stream"}


class Bill:
    """What the API has charged: answers of 5 to 100 % of what a call may cost, cut or not."""

    def __init__(self) -> None:
        self.picousd = 0
        self._lock = threading.Lock()

    def answer(self, _: Any) -> bytes:
        return _wire.json_bytes(self._message())

    def stream(self, _: Any) -> list[bytes]:
        chunks = _wire.sse(_wire.stream_events(self._message()))
        return chunks[: random.randrange(1, len(chunks))] if random.random() < 0.1 else chunks

    def _message(self) -> Any:
        time.sleep(random.uniform(0, 0.02))
        counts = _wire.usage(random.randrange(1, 10), random.randrange(20, 490))
        whole = _wire.message("Hello.", counts, model=ASK["model"])
        cost = claudetrace.price(whole).usd
        assert cost is not None
        with self._lock:
            self.picousd += int(cost * 10**12)
        return whole


@contextmanager
def pgbouncer(server: Server) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode before the server."""
    with TemporaryDirectory() as folder:
        port, path = free_port(), Path(folder)
        (path / "users").write_text(f'"admin" "{PASSWORD}"\n')
        (path / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
            f"listen_port={port}\nauth_type=plain\nauth_file={path / 'users'}\npool_mode=transaction\n"
            "default_pool_size=8\nmax_client_conn=500\nunix_socket_dir=\n"
        )
        shutil.chown(path, "nobody")
        for file in path.iterdir():
            shutil.chown(file, "nobody")
        user: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        with subprocess.Popen(["pgbouncer", "-q", str(path / "ini")], cwd="/", **user) as process:
            time.sleep(0.5)
            try:
                yield port
            finally:
                process.send_signal(signal.SIGINT)


def crowd(server: Server, store: str, run: Callable[..., None], callers: int, *, crash: bool) -> list[str]:
    """What is wrong after so many callers in each process of each host have used the budget up; prints the figures."""
    bill, refused = Bill(), _wire.json_bytes(_wire.error("overloaded_error"))
    database = store.rpartition("/")[2]
    with (
        TemporaryDirectory() as folder,
        PlayServer(
            Exchange(times=None, when=lambda _: random.random() < 0.03, status=529, headers=JSON, body=refused),
            Exchange(times=None, when=lambda ask: bool(ask) and ask.get("stream"), headers=SSE, body=bill.stream),
            Exchange(times=None, headers=JSON, body=bill.answer),
        ) as api,
    ):

        def begin(host: int) -> Any:
            place = Path(folder) / f"host{host}"
            place.mkdir(exist_ok=True)
            process = SPAWN.Process(target=run, args=(str(place), store, api.url, callers))
            process.start()
            return host, process

        began = time.monotonic()
        running = [begin(number % HOSTS) for number in range(HOSTS * PROCESSES)]
        for kill in range(KILLS):
            wait_for(lambda least=150 * (kill + 1): len(api.requests) > least)
            host, victim = running.pop(0)
            victim.kill()
            victim.join()
            running.append(begin(host))
            if kill == 1 and crash:
                server.stop(signal.SIGQUIT)
                time.sleep(0.5)
                server.start()
        for _, process in running:
            process.join(LONGEST_S)
        took = time.monotonic() - began
        wrong = [f"a process ended with {each.exitcode}" for _, each in running if each.exitcode != 0]
        wrong += [f"the API failed: {each!r}" for each in api.failures]
        return wrong + verdict(server, store, database, bill, Path(folder), len(api.requests), took)


def verdict(
    server: Server, store: str, database: str, bill: Bill, folder: Path, requests: int, took: float
) -> list[str]:
    """What does not hold at the end, once the leases are over."""
    place = folder / "host0"
    _hosts.meter(str(place), store)
    wait_for(lambda: not server.execute("SELECT FROM claudetrace.charges WHERE basis = 0", database=database))
    claudetrace.uninstrument()
    with _connect.view(ServerUrl(store)) as view:
        (each,) = view.budgets()
        totals = view.totals(each, "", window_of("total", "UTC", 0))
        told = Counter(raised.alert.threshold for raised in view.alerts(100))
    deadlocks = server.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", database)[0][0]
    cap, used = _hosts.CAP_USD * 10**12, totals.picousd + totals.held_picousd
    print(f"  {requests:,} requests in {took:.0f} s: billed ${bill.picousd / 1e12:.4f}, ", end="")
    print(f"spent ${totals.picousd / 1e12:.4f}, held ${totals.held_picousd / 1e12:.4f} of ${_hosts.CAP_USD}; ", end="")
    print(f"deadlocks {deadlocks}")
    checks = {
        "billed within the cap": bill.picousd <= cap,
        "billed within what is spent and held": bill.picousd <= used,
        "spent and held within the cap": used <= cap,
        "97 % used": used >= 0.97 * cap,
        "nothing reserved": totals.reserved_picousd == totals.reserved_calls == 0,
        f"each threshold once, not {dict(told)}": all(told[each] == 1 for each in (0.5, 0.8)) and told[1.0] <= 1,
        "no deadlock": deadlocks == 0,
    }
    return [name for name, holds in checks.items() if not holds]


def wait_for(true: Callable[[], Any]) -> None:
    end = time.monotonic() + LONGEST_S
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def main() -> int:
    """Runs the crowds; 1 if something does not hold in one."""
    failed = 0
    server = Server("fsync=on")
    try:
        with pgbouncer(server) as port:
            ways = (
                ("threads, and a crash of the server", server.port, _hosts.run_threads, 16, True),
                ("tasks of event loops", server.port, _hosts.run_tasks, 64, False),
                ("threads through PgBouncer", port, _hosts.run_threads, 16, False),
                ("tasks through PgBouncer, and a crash", port, _hosts.run_tasks, 64, True),
            )
            for name, at, run, callers, crash in ways:
                database = server.database()
                init(ServerUrl(server.url(database)))
                print(f"{HOSTS} hosts x {PROCESSES} processes x {callers} {name}:", flush=True)
                wrong = crowd(server, server.url(database, port=at), run, callers, crash=crash)
                for each in wrong:
                    print(f"  does not hold: {each}")
                failed += bool(wrong)
    finally:
        server.close()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
