"""CPU of the caller's thread added to a call while metrics, export and records are on, and of the loader for a row."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _calls import added_us
from _table import Row
from _wire import ASK, client

import claudetrace

ROWS = 2_000
SERVER = """
import http.server, sys
class Taker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
    def log_message(self, *_): ...
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
print(server.server_port, flush=True)
server.serve_forever()
"""


def telemetry_rows() -> list[Row]:
    """The figures of metrics, export and records, with a collector in a process of its own that takes all."""
    collector = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert collector.stdout is not None
    url = f"http://127.0.0.1:{collector.stdout.readline().strip()}"
    try:
        return [
            _caller("ledger and metrics over OTLP", 80, spans="off", otlp=url),
            _caller("ledger and own span over OTLP", 220, metrics=False, otlp=url),
            _caller("ledger and records over OTLP", 80, spans="off", metrics=False, otlp=url, records="otlp"),
            *_loader(url),
        ]
    finally:
        claudetrace.uninstrument()
        collector.kill()
        collector.wait()


def _caller(what: str, limit: float, **settings: Any) -> Row:
    plain = client()
    bare, beyond = added_us(lambda: plain.messages.create(**ASK), **settings)
    return Row(what=what, measured=beyond, unit="µs", limit=limit, beside=f"bare {bare:,.0f} µs")


def _loader(url: str) -> list[Row]:
    """CPU of all threads but the caller's for a row, with the ledger alone as the measure."""
    base = _others_us(metrics=False)
    return [
        Row(
            what=f"loader, a row {what}", measured=_others_us(**settings) - base, unit="µs", beside=f"alone {base:,.0f}"
        )
        for what, settings in (
            ("counted in metrics", {"otlp": url}),
            ("sent as a record", {"metrics": False, "otlp": url, "records": "otlp"}),
        )
    ]


def _others_us(**settings: Any) -> float:
    plain = client()
    with tempfile.TemporaryDirectory() as folder:
        claudetrace.instrument(db=Path(folder) / "ledger.db", spans="off", force=True, **settings)
        plain.messages.create(**ASK)
        claudetrace.flush()
        whole, own = time.process_time_ns(), time.thread_time_ns()
        for _ in range(ROWS):
            plain.messages.create(**ASK)
        claudetrace.flush(30)
        spent = (time.process_time_ns() - whole) - (time.thread_time_ns() - own)
        claudetrace.uninstrument()
    return spent / ROWS / 1e3
