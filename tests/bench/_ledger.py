"""What is paid after the call: the journal's write and the loader."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path

from _table import Row

from claudetrace._guard import Guard
from claudetrace._ids import utc_text, uuid7

ROWS = 20_000


def sample_row(number: int) -> dict[str, object]:
    """A row as the recorder makes it."""
    now_ns = time.time_ns()
    call_id = uuid7(now_ns)
    return {
        "id": call_id,
        "call_id": call_id,
        "started_at": utc_text(now_ns),
        "duration_ms": 812.5,
        "response_ms": 811.2,
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-sonnet-5",
        "model": "claude-sonnet-5",
        "outcome": "ok",
        "stop_reason": "end_turn",
        "http_status": 200,
        "retries": 0,
        "max_tokens": 1000,
        "tool_calls": 0,
        "message_count": 1,
        "image_count": 0,
        "document_count": 0,
        "request_bytes": 240,
        "rate_limit_headroom": 0.97,
        "rate_limit": "tokens",
        "request_id": f"req_{number}",
        "message_id": f"msg_{number}",
        "input_tokens": 120,
        "cache_read_tokens": 2000,
        "cache_write_5m_tokens": 200,
        "cache_write_1h_tokens": 100,
        "output_tokens": 250,
        "service_tier": "standard",
        "usage": '{"input_tokens":120,"output_tokens":250,"cache_read_input_tokens":2000}',
        "usage_is_final": 1,
        "cost_picousd": 3_570_000_000,
        "cost_parts": '[{"name":"output_tokens","model":"claude-sonnet-5","quantity":250,'
        '"rate_picousd":14280000,"picousd":3570000000}]',
        "cost_flags": "[]",
        "pricing_terms": '{"platform":"anthropic"}',
        "cache_saved_picousd": 1_000,
        "rates_version": "bench",
        "user_id": f"u{number % 500}",
        "session_id": f"s{number % 2000}",
        "feature": f"f{number % 10}",
        "customer": f"c{number % 50}",
        "tags": '{"team":"bench"}',
        "service": "bench",
        "instance": "host",
    }


def ledger_rows() -> list[Row]:
    """The figures of the journal and of the loader."""
    return [*_journal_rows(), *_loader_rows()]


def _journal_rows() -> list[Row]:
    from claudetrace._ledger._journal import Journal

    rows = []
    for threads in (1, 16):
        with tempfile.TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "spool", Guard())
            taken: list[float] = []

            def put(
                journal: Journal = journal,
                taken: list[float] = taken,
                count: int = 4_000 // threads,
                pause_s: float = 0.001 * threads,
            ) -> None:
                for number in range(count):
                    row = sample_row(number)
                    began = time.perf_counter_ns()
                    journal.append(row)
                    taken.append((time.perf_counter_ns() - began) / 1e3)
                    time.sleep(pause_s)

            workers = [threading.Thread(target=put) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        taken.sort()
        p99 = taken[int(len(taken) * 0.99)]
        beside = f"p50 {statistics.median(taken):.0f} µs"
        rows.append(
            Row(
                what=f"journal put p99, {threads} thread{'s' * (threads > 1)}",
                measured=p99,
                unit="µs",
                limit=150,
                beside=beside,
            )
        )
    return rows


def _loader_rows() -> list[Row]:
    """CPU and speed of loading a journal of 20,000 rows, in this thread."""
    from claudetrace._ledger._loader import LedgerWriter

    cpu_us: list[float] = []
    speed: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            writer = LedgerWriter(Path(folder) / "ledger.db", guard=Guard())
            for number in range(ROWS):
                writer.append(sample_row(number))
            began, cpu = time.perf_counter(), time.process_time()
            before = writer.health()["written"]
            if not writer.flush(60):
                raise SystemExit("the loader did not finish 20,000 rows in 60 s")
            loaded = writer.health()["written"] - before
            cpu_us.append((time.process_time() - cpu) / loaded * 1e6)
            speed.append(loaded / (time.perf_counter() - began))
            writer.close()
    return [
        Row(what="loader, CPU a row with rollups", measured=statistics.median(cpu_us), unit="µs", limit=125),
        Row(what="loader, rows a second", measured=statistics.median(speed), unit="", limit=8_000, at_least=True),
    ]
