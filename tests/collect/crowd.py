"""Services of several processes that call an API on loopback and send their rows to one `claudetrace collect`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer
from claudetrace._ledger._schema import open_ledger

from .collecting import Collecting, ask, wait_for

TOKENS = {"desk": "d" * 20, "search": "s" * 20, "shop": "p" * 20}
SAID = ",".join(f"{service}={token}" for service, token in TOKENS.items())
PICOUSD_PER_OUTPUT_TOKEN = 15_000_000
CALLS = """
import sys, time
import anthropic, claudetrace
db, url, seconds = sys.argv[1:]
claudetrace.instrument(db=db, records="otlp", spans="off", metrics=False)
client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
until = time.monotonic() + float(seconds)
while time.monotonic() < until:
    client.messages.create(model="claude-sonnet-4-5", max_tokens=99, messages=[{"role": "user", "content": "hi"}])
    time.sleep(0.02)
"""
SENDS = """
import sys, claudetrace
meter = claudetrace.instrument(db=sys.argv[1], records="otlp", spans="off", metrics=False)
claudetrace.record({"id": f"last_{sys.argv[2]}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
    "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 0, "output_tokens": 0}})
sys.exit(not any(claudetrace.flush(timeout_s=20) for _ in range(5)))
"""


class Api:
    """What the API has billed: each answer's id with what it costs, by a sum of the test's own."""

    def __init__(self) -> None:
        self.billed: dict[str, int] = {}
        self._lock = threading.Lock()

    def exchange(self) -> Exchange:
        return Exchange(times=None, headers={"content-type": "application/json"}, body=self._answer)

    def _answer(self, _: Any) -> bytes:
        tokens = random.randrange(1, 99)
        with self._lock:
            message_id = f"msg_{len(self.billed)}"
            self.billed[message_id] = tokens * PICOUSD_PER_OUTPUT_TOKEN
        return _wire.json_bytes(
            _wire.message("Hello.", _wire.usage(0, tokens), model="claude-sonnet-4-5", message_id=message_id)
        )


class Crowd:
    """So many processes of each service, each service on a host with one ledger."""

    def __init__(self, folder: Path, collector: Collecting, processes: int, seconds: float) -> None:
        self.api, self._folder, self._collector = Api(), folder, collector
        self.ledgers = {service: folder / service / "ledger.db" for service in TOKENS}
        self._server = PlayServer(self.api.exchange())
        self._server.__enter__()
        self._running = [
            self._start(service, CALLS, self._server.url, str(seconds))
            for service in TOKENS
            for _ in range(processes)
        ]  # fmt: skip

    def _start(self, service: str, program: str, *words: str) -> subprocess.Popen[bytes]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
        told = {
            "OTEL_SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{self._collector.url}/v1/logs",
            "OTEL_EXPORTER_OTLP_LOGS_HEADERS": f"Authorization=Bearer%20{TOKENS[service]}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "5",
        }
        self.ledgers[service].parent.mkdir(exist_ok=True)
        command = [sys.executable, "-c", program, str(self.ledgers[service]), *words]
        return subprocess.Popen(command, env={**kept, **told}, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        """Waits for its end, and has each host send what it has left."""
        for each in self._running:
            assert each.wait(120) == 0
        self._server.__exit__(None, None, None)
        for each in [self._start(service, SENDS, service) for service in TOKENS]:
            assert each.wait(120) == 0

    def verdict(self, central: Path) -> None:
        """Each answer of the API is in the central ledger once, at what it costs; each host's sum is there too."""
        of_api = "SELECT message_id, cost_picousd FROM calls WHERE message_id LIKE 'msg%' ORDER BY id"
        wait_for(lambda: len(ask(central, of_api)) >= len(self.api.billed))
        found = ask(central, of_api)
        assert len(found) == len(self.api.billed)
        assert dict(found) == self.api.billed
        for service, ledger in self.ledgers.items():
            sums = f"SELECT COUNT(*), SUM(cost_picousd) FROM calls WHERE service = '{service}'"
            # The last rows may be on their way from the journal.
            wait_for(lambda sums=sums, ledger=ledger: ask(central, sums) == ask(ledger, sums))
        with closing(open_ledger(central)) as connection:
            (rolled,) = connection.execute("SELECT SUM(calls) FROM rollup_days").fetchone()
            assert rolled == len(ask(central, "SELECT id FROM calls"))


def kill_again_and_again(collector: Collecting, times: int) -> None:
    """Kills the process at moments of no one's choice, and starts it again."""
    for _ in range(times):
        time.sleep(random.uniform(0.1, 1.0))
        collector.kill()
        collector.start()
