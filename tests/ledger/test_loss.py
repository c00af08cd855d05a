"""A call that was appended is in the ledger once, however its process ended."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from claudetrace._guard import Guard
from claudetrace._ledger._load import load_orphans

HERE = Path(__file__).parent
BURST = 200
START = f"""
import atexit, multiprocessing, os, signal, sys, threading, time
# The tests may run where it is ignored, as under `nohup … &`.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = [{str(HERE.parents[1])!r}, {str(HERE)!r}]
from pathlib import Path
from rows import row
from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
writer = LedgerWriter(Path(sys.argv[1]), guard=Guard())
def burst(n={BURST}):
    for _ in range(n):
        writer.append(row())
"""
ENDS = {
    "normal exit": ("burst()", 0),
    "exception": ("burst(); raise ValueError", 1),
    "sys.exit": ("burst(); sys.exit(3)", 3),
    "SIGTERM": ("burst(); os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "SIGINT": (
        "writer.append(row()); time.sleep(.5); burst(199); os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
        -signal.SIGINT,
    ),
    "SIGINT at the first rows": ("burst(); os.kill(os.getpid(), signal.SIGINT); time.sleep(5)", -signal.SIGINT),
    "interrupt that a notebook has shown": (
        (
            "def cell():\n    try:\n        raise KeyboardInterrupt\n    except KeyboardInterrupt:\n"
            "        sys.last_type, sys.last_value, sys.last_traceback = sys.exc_info()\ncell(); burst()"
        ),
        0,
    ),
    "os._exit": ("burst(); os._exit(4)", 4),
    "SIGKILL": ("burst(); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "daemon thread": ("t = threading.Thread(target=burst, daemon=True); t.start(); t.join()", 0),
    "thread": ("threading.Thread(target=burst).start()", 0),
    "eight threads, SIGKILL": (
        (
            f"ts = [threading.Thread(target=burst, args=({BURST} // 8,)) for _ in range(8)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts]; os.kill(os.getpid(), signal.SIGKILL)"
        ),
        -signal.SIGKILL,
    ),
    "late atexit handler": ("atexit.register(burst, 100)\nwriter.append(row()); burst(99)", 0),
    "atexit handler registered first": ("burst(100)\natexit._run_exitfuncs(); burst(100)", 0),
    "after close": ("burst(100); writer.close(); burst(100); os._exit(0)", 0),
    "paced, SIGKILL": (
        f"for _ in range({BURST}):\n    writer.append(row()); time.sleep(.003)\nos.kill(os.getpid(), signal.SIGKILL)",
        -signal.SIGKILL,
    ),
    "fork, child os._exit": (
        "burst(100)\nif os.fork() == 0:\n    burst(100); os._exit(0)\nos.wait()",
        0,
    ),
    "fork while loading, child SIGKILL": (
        "burst(100); time.sleep(.3)\nif os.fork() == 0:\n    burst(100); os.kill(os.getpid(), 9)\nos.wait()",
        0,
    ),
    "fork before the first row": ("if os.fork() == 0:\n    burst(100); os._exit(0)\nburst(100); os.wait()", 0),
    "child outlives its parent": (
        "burst(100)\nif os.fork() == 0:\n    os.setsid(); time.sleep(.5); burst(100); os._exit(0)\nos._exit(0)",
        0,
    ),
    **{
        f"multiprocessing {method}": (
            (
                "if __name__ == '__main__':\n    burst(100); context = multiprocessing.get_context("
                f"{method!r})\n    p = context.Process(target=burst, args=(100,)); p.start(); p.join()"
            ),
            0,
        )
        for method in ("fork", "forkserver", "spawn")
    },
}


def counts(db: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(db)) as connection:
        (rows,) = connection.execute("SELECT COUNT(*) FROM calls").fetchone()
        (summed,) = connection.execute("SELECT COALESCE(SUM(responses), 0) FROM rollup_hours").fetchone()
    return rows, summed


@pytest.mark.parametrize("end", ENDS)
def test_no_row_is_lost_or_doubled(end: str, tmp_path: Path, db: Path) -> None:
    """200 rows appended by a process that ends in this way are in the ledger and its sums, each once."""
    source, status = ENDS[end]
    script = tmp_path / "program.py"
    script.write_text(START + source)

    ended = subprocess.run([sys.executable, script, db], capture_output=True, timeout=60)
    if end == "child outlives its parent":
        time.sleep(1.5)
    load_orphans(db, Guard())

    assert (ended.returncode, counts(db)) == (status, (BURST, BURST)), ended.stderr.decode()


def test_crash_between_commit_and_delete(tmp_path: Path, db: Path) -> None:
    """A loader that is killed after its commit, before it deletes the segment, leaves nothing to load twice."""
    script = tmp_path / "program.py"
    kill = "_segments.Segment.delete = lambda self: os.kill(os.getpid(), signal.SIGKILL)"
    script.write_text(START + "burst()\nos._exit(0)")
    subprocess.run([sys.executable, script, db], timeout=60, check=True)
    recover = (
        f"import os, signal, sys\nsys.path.insert(0, {str(HERE.parents[1])!r})\nfrom pathlib import Path\n"
        "from claudetrace._guard import Guard\nfrom claudetrace._ledger import _load, _segments\n"
        f"{kill}\n_load.load_orphans(Path(sys.argv[1]), Guard())"
    )
    killed = subprocess.run([sys.executable, "-c", recover, db], timeout=60)
    with closing(sqlite3.connect(db)) as connection, connection:
        # So that the ids do not save it: what is loaded is told by the segment's mark alone.
        connection.execute("DELETE FROM calls")

    assert (killed.returncode, load_orphans(db, Guard()), counts(db)) == (-signal.SIGKILL, 0, (0, BURST))
    assert list(Path(f"{db}.spool").iterdir()) == []


def test_eight_processes_on_a_fresh_file(tmp_path: Path, db: Path) -> None:
    """Eight processes that start at once on no file make one ledger with all their rows."""
    script = tmp_path / "program.py"
    script.write_text(START + "burst()")
    started = [subprocess.Popen([sys.executable, script, db], stderr=subprocess.PIPE) for _ in range(8)]
    said = [process.communicate(timeout=60)[1] for process in started]
    load_orphans(db, Guard())

    assert (said, counts(db)) == ([b""] * 8, (8 * BURST, 8 * BURST))


def test_fork_with_a_reader_open(tmp_path: Path, db: Path) -> None:
    """A child whose parent has the ledger open for reading leaves SQLite alone, so both keep their rows."""
    script = tmp_path / "program.py"
    script.write_text(
        START
        + "import sqlite3\nburst(100); writer.flush(5)\nreader = sqlite3.connect(sys.argv[1])\n"
        + "reader.execute('SELECT COUNT(*) FROM calls').fetchall()\n"
        + "if os.fork() == 0:\n    burst(100); os._exit(writer.flush(1))\n"
        + "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    child_loaded = subprocess.run([sys.executable, script, db], timeout=60).returncode
    load_orphans(db, Guard())

    assert (child_loaded, counts(db)) == (0, (BURST, BURST))


def test_forked_child_loads_its_own(tmp_path: Path, db: Path) -> None:
    """A child that was forked while its parent had loaded rows brings its own into the ledger while it lives."""
    script = tmp_path / "program.py"
    script.write_text(
        START
        + "burst(100); writer.flush(5)\nif os.fork() == 0:\n    burst(100); os._exit(not writer.flush(10))\n"
        + "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    )

    assert (subprocess.run([sys.executable, script, db], timeout=60).returncode, counts(db)) == (0, (BURST, BURST))
