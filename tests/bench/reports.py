"""`make bench-reports`: each question of docs/reports.md on a large ledger, as a command in a process of its own.

    python tests/bench/reports.py [ROWS] [--db FILE]

Wall clock and CPU of the whole process, starting Python included, the best of two; beside it the CPU of the answer
alone, which is what the limits are of, and whether it came from sums or from calls.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent)]

# ruff: noqa: E402 - found by the line above
from generate import generate

from claudetrace import Ledger

SUMS_MS, CALLS_MS, EXPORT_MB = 60.0, 10_000.0, 200.0
WEEK = ("--since", "2026-11-14", "--until", "2026-11-21")
DAY = ("--since", "2026-11-19", "--until", "2026-11-20")
ALL = ("--since", "all")
QUESTIONS: dict[str, tuple[str, ...]] = {
    "the bill doubled: why": ("report", "--by", "feature,model", *DAY, "--compare"),
    "each customer a month, by model": ("report", "--by", "customer,model,month", *ALL, "--csv"),
    "each customer a month, by feature": ("report", "--by", "customer,feature,month", *ALL, "--csv"),
    "prompt versions, per call": ("report", "--by", "prompt,model", *ALL, "--sort", "per-call"),
    "runaway sessions of a week": ("report", "--by", "session", *WEEK, "--top", "20"),
    "runaway sessions of all time": ("report", "--by", "session", *ALL, "--top", "20"),
    "most expensive users": ("report", "--by", "user", *ALL, "--top", "20"),
    "what a session did": ("find", "{session}"),
    "which calls fail, and why": ("report", "--by", "error_type,model,feature", "--where", "outcome=error", *ALL),
    "p95 and tokens/s, against last week": ("report", "--by", "model", "--latency", *WEEK, "--compare"),
    "who is being stopped": ("report", "--by", "customer", "--where", "error_type=BudgetExceeded", *WEEK),
    "what is unpriced, of a week": ("report", "--by", "flags,model", "--where", "cost_status!=priced", *WEEK),
    "what is unpriced, of all time": ("report", "--by", "flags,model", "--where", "cost_status!=priced", *ALL),
    "the call of a request id": ("find", "{request_id}"),
    "the call of a message id": ("find", "{message_id}"),
    "a day in batches": ("report", "--batch", *DAY),
    "by day in Berlin": ("report", "--by", "day", *ALL, "--timezone", "Europe/Berlin", "--csv"),
    "by service, of all time": ("report", "--by", "service", *ALL),
    "a day as CSV": ("export", "--format", "csv", *DAY, "-o", "{file}"),
}
WHOLE = {f"all as {kind}": ("export", "--format", kind, "-o", "{file}") for kind in ("csv", "jsonl", "focus")}

CODE = """
import re, sys
from claudetrace.cli import main
try:
    main()
finally:
    # What getrusage says is at least what the process had that started this one.
    print(*re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()), file=sys.stderr)
"""


def main() -> int:
    """Prints the table; 1 where an answer is over its limit."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", nargs="?", type=int, default=1_000_000)
    asked.add_argument("--db", type=Path)
    told = asked.parse_args()
    db = told.db or ROOT / ".bench" / f"ledger-{told.rows}.db"
    if not db.exists():
        db.parent.mkdir(exist_ok=True)
        generate(db, told.rows)
    names = _names(db)
    print(f"{names['rows']:,} calls, {db.stat().st_size / 1e9:.2f} GB\n")
    print(f"{'question':38} {'wall s':>8} {'CPU s':>7} {'MB':>5}  {'answer ms':>9} {'from':15} command")
    over = 0
    for question, words in {**QUESTIONS, **WHOLE}.items():
        command = [word.format(**names) for word in words]
        over += not _measured(question, command, db)
    Path(names["file"]).unlink(missing_ok=True)
    print(f"\n{over} over their limit: {SUMS_MS:.0f} ms from sums, {CALLS_MS:,.0f} from calls, {EXPORT_MB:.0f} MB")
    return int(over > 0)


def _measured(question: str, command: list[str], db: Path) -> bool:
    """Prints a line, and answers whether the limits hold."""
    runs = [_run(command, db) for _ in range(1 if command[0] == "export" else 2)]
    wall_s, cpu_s, megabytes = map(min, zip(*runs, strict=True))
    answer_ms, source = _answered(command, db)
    limit = {"sums": SUMS_MS}.get(source, CALLS_MS)
    kept = answer_ms <= limit and (command[0] != "export" or megabytes <= EXPORT_MB)
    shown = "" if source == "–" else f"{answer_ms:,.0f}"
    words = " ".join(command)
    print(
        f"{question:38} {wall_s:8.2f} {cpu_s:7.2f} {megabytes:5.0f}  {shown:>9} {source:15} {words}"
        f"{'' if kept else '  <-- over'}",
        flush=True,
    )
    return kept


def _run(command: list[str], db: Path) -> tuple[float, float, float]:
    """Wall clock, CPU and most memory of the command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CODE, *command, "--db", str(db)], capture_output=True, check=False)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, int(done.stderr.split()[-1]) / 1000


def _answered(command: list[str], db: Path) -> tuple[float, str]:
    """The CPU of what the ledger does for a report of spend, the best of three, and where it came from."""
    if command[0] != "report" or {"--compare", "--latency", "--batch"} & set(command):
        return 0.0, "–"
    words = dict(zip(command[1::2], command[2::2], strict=False))
    said: dict[str, Any] = {"timezone": words.get("--timezone", "UTC")}
    if "--where" in words:
        name, _, value = words["--where"].partition("=")
        said["where"] = {name: value}
    said |= {"top": int(words["--top"])} if "--top" in words else {}
    ledger, best = Ledger(db), 1e9
    for _ in range(3):
        began = time.thread_time()
        found = ledger.spend(words["--by"].split(","), words["--since"], words.get("--until"), **said)
        best = min(best, (time.thread_time() - began) * 1000)
        if best > 1000:
            break
    return best, found.answered_from


def _names(db: Path) -> dict[str, Any]:
    """What the ledger has to look for."""
    with sqlite3.connect(f"{db.absolute().as_uri()}?mode=ro", uri=True) as connection:
        ((rows,),) = connection.execute("SELECT COUNT(*) FROM calls")
        found = connection.execute(
            "SELECT session_id, request_id, message_id FROM calls WHERE rowid >= ? AND message_id IS NOT NULL "
            "AND session_id IS NOT NULL LIMIT 1",
            (rows // 2,),
        ).fetchone()
    connection.close()
    named = dict(zip(("session", "request_id", "message_id"), found, strict=True))
    return {**named, "rows": rows, "file": str(db.with_name(f"{db.name}.export"))}


if __name__ == "__main__":
    sys.exit(main())
