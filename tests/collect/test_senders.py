"""What a program that sends records makes of the answers of `claudetrace collect`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._telemetry._exporters import Exporters
from claudetrace._telemetry._records import RecordExporter

from .collecting import Collecting, ask, wait_for
from .rows import row


@pytest.fixture
def sending(db: Path) -> Iterator[Callable[[str], LedgerWriter]]:
    """Starts a writer that sends to this URL; it ends with the test."""
    started: list[LedgerWriter] = []

    def start(url: str) -> LedgerWriter:
        records = Exporters(lambda: RecordExporter(url), Guard())
        started.append(LedgerWriter(db, guard=Guard(), records=records))
        return started[-1]

    yield start
    for writer in started:
        writer.close()


def test_rejected_records_are_known_by_their_ids(
    collecting: Callable[..., Collecting], sending: Callable[[str], LedgerWriter], db: Path
) -> None:
    """Those that are named stay in the sender's ledger with the reason, the others are not sent again to find out."""
    collector = collecting()
    rows = [row(output_tokens=-1) if number in (7, 90) else row() for number in range(150)]
    writer = sending(collector.url)
    for each in rows:
        writer.append(each)
    first = writer.flush(30)
    wait_for(lambda: len(collector.ids()) == 148)

    broken = [each["id"] for each in rows if each["output_tokens"] < 0]
    assert (first, writer.flush(30)) == (False, True)
    assert dict(ask(db, "SELECT id, refused FROM unsent")) == dict.fromkeys(broken, "output_tokens is below zero")
    assert collector.get("/readyz")[1] == "148 records taken, 2 rejected\n"
    assert writer.health()["refused"] == 2


@pytest.mark.parametrize("flushes", [False, True])
def test_a_sender_waits_as_long_as_it_is_asked_to(flushes: bool, sending: Callable[[str], LedgerWriter]) -> None:
    """After 429 with Retry-After nothing is sent before that time is over, also by a flush; then all arrives."""
    came: list[float] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            came.append(time.monotonic())
            self.send_response(429 if len(came) == 1 else 200)
            # Beyond what the exporter waits by itself.
            self.send_header("Retry-After", "12")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        writer = sending(f"http://127.0.0.1:{server.server_port}")
        writer.append(row())
        if flushes:
            assert not writer.flush(5)
            assert writer.flush(30)
        wait_for(lambda: len(came) == 2)
        assert came[1] - came[0] >= 12
    finally:
        server.shutdown()
        server.server_close()
