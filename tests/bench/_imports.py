"""What `import claudetrace; instrument()` adds to `import anthropic`, in fresh processes in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _table import Row

ROUNDS = 9
BARE = """
import time
began = time.perf_counter()
import anthropic
anthropic.Anthropic(api_key="bench")
"""
METERED = (
    BARE
    + """
import claudetrace
claudetrace.instrument(db={db!r})
"""
)
TOLD = """
took_ms = (time.perf_counter() - began) * 1e3
import gc
gc.collect()
# What is resident now: the peak that getrusage tells is that of the parent, from before this program was loaded.
pages = int(open("/proc/self/statm").read().split()[1]) if __import__("sys").platform == "linux" else 0
print(took_ms, pages * __import__("os").sysconf("SC_PAGE_SIZE") / 2**20)
"""


def import_rows() -> list[Row]:
    """Time and memory over the SDK alone."""
    times_ms: list[float] = []
    memory_mb: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        metered = METERED.format(db=str(Path(folder) / "ledger.db"))
        for _ in range(ROUNDS):
            bare, with_meter = _run(BARE + TOLD), _run(metered + TOLD)
            times_ms.append(with_meter[0] - bare[0])
            memory_mb.append(with_meter[1] - bare[1])
    return [
        Row(
            what="import and instrument() over import anthropic",
            measured=statistics.median(times_ms),
            unit="ms",
            limit=100,
        ),
        Row(what="memory over import anthropic", measured=statistics.median(memory_mb), unit="MB"),
    ]


def _run(script: str) -> tuple[float, float]:
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    return float(told[0]), float(told[1])
