"""Rows to send, and a program that records them: `python _records.py WHAT DB URL`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from claudetrace._guard import Guard
from claudetrace._ids import uuid7
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._telemetry._exporters import Exporters
from claudetrace._telemetry._records import RecordExporter

ROWS = 300
USAGE = '{"input_tokens":1000,"output_tokens":200,"service_tier":"standard"}'


def row(**changes: Any) -> dict[str, Any]:
    """A call as the recorder leaves it, not priced yet."""
    id_ = uuid7(time.time_ns())
    made = {
        "id": id_,
        "call_id": id_,
        "started_at": "2026-06-15T12:34:56.789Z",
        "duration_ms": 1234.5,
        "source": "anthropic",
        "billing": "api",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-sonnet-4-5",
        "model": "claude-sonnet-4-5",
        "outcome": "ok",
        "http_status": 200,
        "usage": USAGE,
        "usage_is_final": 1,
        "user_id": "u1",
        "tags": '{"team":"search"}',
        "service": "tests",
        "environment": "staging",
        "instance": "host",
    }
    return made | changes


def record(writer: LedgerWriter, rows: int) -> list[str]:
    """The ids of `rows` new rows of `writer`, in order."""
    made = [row() for _ in range(rows)]
    for each in made:
        writer.append(each)
    return sorted(each["id"] for each in made)


def told(ids: list[str]) -> None:
    """Tells the test which rows are in the journal, before anything else happens."""
    os.write(1, b"".join(f"{id_}\n".encode() for id_ in ids))


def killed(writer: LedgerWriter) -> None:
    """Is killed when the test says so."""
    told(record(writer, ROWS))
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at_once(writer: LedgerWriter) -> None:
    told(record(writer, ROWS))
    os.kill(os.getpid(), signal.SIGKILL)


def ends(writer: LedgerWriter) -> None:
    told(record(writer, ROWS))


def flushed(writer: LedgerWriter) -> None:
    told(record(writer, ROWS))
    assert writer.flush(30)


def forks(writer: LedgerWriter) -> None:
    """Forks after it has sent, and goes on."""
    flushed(writer)
    _forked(writer)
    flushed(writer)


def forks_while_loading(writer: LedgerWriter) -> None:
    """Forks while its thread loads what exports, as a server does that forks right after it has started."""
    writer.send_left()
    assert writer._records
    while not writer._records._busy.locked():
        time.sleep(0)
    _forked(writer)
    flushed(writer)


def _forked(writer: LedgerWriter) -> None:
    for _ in range(3):
        if os.fork() == 0:
            told(record(writer, ROWS))
            os._exit(0 if writer.flush(30) else 1)
    statuses = [os.wait()[1] for _ in range(3)]
    assert statuses == [0, 0, 0], statuses


def main(what: str, db: str, url: str) -> None:
    globals()[what](LedgerWriter(Path(db), guard=Guard(), records=Exporters(lambda: RecordExporter(url), Guard())))


if __name__ == "__main__":
    main(*sys.argv[1:])
