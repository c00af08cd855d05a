"""`make bench`: what the meter adds, as differences of interleaved runs, beside the figure each has to keep.

The first table is the CPU of the whole process, ours and others' tools; the second that of parts: a call's own thread,
the loader, a price. Both have an in-process transport and medians. Machines are shared and noisy: a row that is over
its limit by a little is worth a second run, one that is over by half is not.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from _budgets import budget_rows
from _calls import call_rows
from _export import export_rows
from _faults import fault_rows
from _imports import import_rows
from _ledger import ledger_rows
from _pricing import pricing_rows
from _table import Row, show
from _telemetry import telemetry_rows
from _whole import whole_rows

PARTS = (
    call_rows,
    telemetry_rows,
    pricing_rows,
    ledger_rows,
    fault_rows,
    export_rows,
    budget_rows,
    import_rows,
)


def main() -> int:
    """Prints the tables; 1 where a figure falls short."""
    whole = whole_rows()
    print("CPU of the whole process that a call adds to the bare SDK: median and spread of interleaved rounds\n")
    show(whole)
    parts: list[Row] = [row for measure in PARTS for row in measure()]
    print("\nParts; of calls, the CPU of the caller's thread alone\n")
    show(parts)
    rows = whole + parts
    short = [row for row in rows if not row.kept]
    print(f"\n{len(rows) - len(short)} of {len(rows)} figures kept" + (": " if short else "."))
    for row in short:
        print(f"  falls short: {row.what}: {row.measured:.1f} {row.unit}, limit {row.limit:g}")
    return 1 if short else 0


if __name__ == "__main__":
    raise SystemExit(main())
