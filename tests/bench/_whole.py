"""CPU of the whole process that a call costs, with and without us, and with others' tools.

Each tool has a process of its own. They take turns, and each round's figure is less that of the bare SDK in the same
round. `python tests/bench/_whole.py [MEASURE …] [--rounds N]` measures these alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _table import Row, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).resolve().parent
KEPT = HERE.parents[1] / ".venv-bench"
PACKAGES = {
    "official": ("opentelemetry-instrumentation-genai-anthropic", "opentelemetry-sdk"),
    "openinference": ("openinference-instrumentation-anthropic", "opentelemetry-sdk"),
}
NAMES = {
    "ledger": "ledger only",
    "own": "ledger, own span, metrics",
    "joined": "ledger, joined span, metrics",
    "sdk": "the SDK's own span",
    "official": "official instrumentation",
    "openinference": "OpenInference",
}


class Figure(NamedTuple):
    """What is told of a measure, of which tools, and what each of ours may add to the bare SDK."""

    about: str
    measure: str
    field: str
    tools: tuple[str, ...] = tuple(NAMES)
    limits: Mapping[str, float] = {}
    over: Mapping[str, str] = {}
    """The tool whose figure is added to such a limit."""
    unit: str = "µs"


NUMBERS = {
    "create": (21, 200),
    "long": (21, 10),
    "short": (21, 100),
    "paced": (7, 3),
    "crowd": (7, 3),
    "idle": (7, 2),
}
"""The measures, each with how many rounds, and how many calls or seconds a round has: rather many short ones, since the
machine may be busy with something else at any moment."""
OURS = ("ledger", "own", "joined")
FIGURES = (
    Figure(
        "create",
        "create",
        "all_us",
        limits={"ledger": 120, "own": 0, "joined": 140},
        over={"own": "official", "joined": "sdk"},
    ),
    Figure(
        "a stream of 500 events",
        "long",
        "all_us",
        limits={"ledger": 500, "own": 1_200, "joined": 700},
        over={"joined": "sdk"},
    ),
    Figure("a short stream", "short", "all_us"),
    Figure("create, the caller's thread alone", "create", "caller_us", OURS, {"ledger": 70}),
    Figure("20 calls a second, the other threads alone", "paced", "others_us", OURS[:2], {"ledger": 300}),
    Figure("16 threads, 900 calls a second, wall p99", "crowd", "p99_us", OURS[:2], {"ledger": 300}),
    Figure("a process without calls", "idle", "percent", OURS[:2], {"ledger": 0.1, "own": 0.1}, unit="% of a core"),
)


class Process:
    """The process of one tool, which waits while it is not asked."""

    def __init__(self, tool: str) -> None:
        python = _environment(tool) if tool in PACKAGES else sys.executable
        command = [python, "-W", "ignore", str(HERE / "_worker.py"), tool]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, measure: str) -> dict[str, float]:
        """What it measures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(measure, NUMBERS[measure][1], file=self._process.stdin, flush=True)
        told: dict[str, float] = json.loads(self._process.stdout.readline())
        return told

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def whole_rows(measures: Sequence[str] = tuple(NUMBERS), rounds: int | None = None) -> list[Row]:
    """The figures of `measures`."""
    figures = [figure for figure in FIGURES if figure.measure in measures]
    wanted = dict.fromkeys(tool for figure in figures for tool in figure.tools)
    processes = {tool: Process(tool) for tool in ("bare", *wanted)}
    told: dict[tuple[str, str], list[dict[str, float]]] = {}
    for measure in measures:
        tools = dict.fromkeys(tool for figure in figures if figure.measure == measure for tool in figure.tools)
        for _ in range(rounds or NUMBERS[measure][0]):
            for tool in ("bare", *tools):
                told.setdefault((measure, tool), []).append(processes[tool].ask(measure))
    for process in processes.values():
        process.close()
    return [row for figure in figures for row in _rows(figure, told)]


def _rows(figure: Figure, told: Mapping[tuple[str, str], list[dict[str, float]]]) -> Iterator[Row]:
    bare = [each[figure.field] for each in told[figure.measure, "bare"]]
    added = {
        tool: [each[figure.field] - less for each, less in zip(told[figure.measure, tool], bare, strict=True)]
        for tool in figure.tools
    }
    medians = {tool: statistics.median(each) for tool, each in added.items()}
    for tool, each in added.items():
        limit = figure.limits.get(tool)
        if limit is not None and tool in figure.over:
            limit = round(limit + medians[figure.over[tool]])
        spread = f"{min(each):,.3g} to {max(each):,.3g}, bare {statistics.median(bare):,.3g}"
        name = f"{figure.about}: {NAMES[tool]}"
        yield Row(what=name, measured=medians[tool], unit=figure.unit, limit=limit, beside=spread)


def _environment(tool: str) -> Path:
    """The Python of an environment that has the tool and the SDK of this one."""
    folder = KEPT / tool
    python, ready = folder / "bin" / "python", folder / "ready"
    packages = (f"anthropic=={version('anthropic')}", *PACKAGES[tool])
    if not ready.exists() or ready.read_text() != str(packages):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        ready.write_text(str(packages))
    return python


def main() -> int:
    """Prints the figures of the named measures; 1 where one falls short."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("measures", nargs="*", help=f"of {', '.join(NUMBERS)}")
    asked.add_argument("--rounds", type=int)
    told = asked.parse_args()
    rows = whole_rows(told.measures or tuple(NUMBERS), told.rounds)
    show(rows)
    return int(not all(row.kept for row in rows))


if __name__ == "__main__":
    sys.exit(main())
