"""What a caller and the end of a process pay while a collector is broken."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _table import Row

HERE = Path(__file__).parent
FAULTS = (None, "hang", "slow", "503", "refuse")
CALLS = 300
HELD_UP_MS = 2_100
"""The two seconds that are given to a collector, and what a thread takes to be noticed."""

PROGRAM = """
import sys, time, anthropic, claudetrace
if sys.argv[2] != "off":
    claudetrace.instrument(otlp=None if sys.argv[2] == "none" else sys.argv[2])
client = anthropic.Anthropic(api_key="bench", base_url=sys.argv[1], max_retries=0)
ask = dict(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
taken_us = []
for number in range({calls} + 20):
    began = time.perf_counter_ns()
    client.messages.create(**ask)
    if number >= 20:
        taken_us.append((time.perf_counter_ns() - began) / 1e3)
taken_us.sort()
print(taken_us[len(taken_us) // 2], time.time(), flush=True)
"""


def export_rows() -> list[Row]:
    """For each fault, over HTTP and gRPC: how much later a process ends than one that exports nothing."""
    sys.path.insert(0, str(HERE.parents[1]))
    from claudetrace._demo import _answers as answers
    from claudetrace._demo._server import PlayServer
    from tests.telemetry.receiver import Receiver

    rows: list[Row] = []
    with PlayServer(answers.answer(times=None)) as api:
        plain = [_run(api.url, "none", "http/protobuf") for _ in range(3)]
        call_us, end_ms = (statistics.median(each[at] for each in plain) for at in (0, 1))
        for protocol, word in (("http", "http/protobuf"), ("grpc", "grpc")):
            for fault in FAULTS:
                with Receiver(protocol, fault=fault) as receiver:
                    later_us, later_ms = _run(api.url, receiver.url, word)
                rows.append(
                    Row(
                        what=f"end of a process, {protocol}, collector: {fault or 'answers'}",
                        measured=later_ms - end_ms,
                        unit="ms",
                        limit=HELD_UP_MS,
                        beside=f"over no export; a call {later_us - call_us:+.0f} µs",
                    )
                )
    return rows


def _run(api: str, otlp: str, protocol: str) -> tuple[float, float]:
    """The median call in µs, and what its process took to end in ms."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "CLAUDETRACE_DB": str(Path(folder) / "ledger.db"),
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("{calls}", str(CALLS)), api, otlp],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        ).stdout.split()
        ended = time.time()
    return float(told[0]), (ended - float(told[1])) * 1e3


if __name__ == "__main__":
    from _table import show

    show(export_rows())
