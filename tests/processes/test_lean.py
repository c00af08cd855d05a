"""An image without Datasette, uvicorn and gRPC: the meter works, and commands that need them say so."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import claudetrace
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

ROOT = Path(claudetrace.__file__).parents[1]
# As docs/fleet.md has them.
LEAN = (
    *("anthropic", "click", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk", "orjson", "platformdirs"),
    *("sqlite-utils", "wrapt"),
)
PAGES = "claudetrace_dashboards"
LEFT_OUT = ("datasette", "uvicorn", "grpc", "jinja2", "opentelemetry.exporter.otlp.proto.grpc")
PROGRAM = """
import importlib.util, sys
import anthropic
import claudetrace

def is_here(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False

print([name for name in sys.argv[4:] if is_here(name)])
budget = claudetrace.Budget("cap", max_calls=2, per="total", on_exceeded="block")
claudetrace.instrument(db=sys.argv[1], otlp=sys.argv[3], records="otlp", budgets=[budget])
client = anthropic.Anthropic(api_key="k", base_url=sys.argv[2])
for _ in range(3):
    try:
        client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    except claudetrace.BudgetExceeded as error:
        print(error.budget)
print(claudetrace.flush(timeout_s=30))
with claudetrace.Ledger(sys.argv[1]) as ledger:
    print([call.outcome for call in ledger.calls()], ledger.db["calls"].count)
"""


def _closure(names: tuple[str, ...]) -> dict[str, Distribution]:
    """The packages of these names with all that they need."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = distribution(name)
        needed = map(Requirement, found[name].requires or ())
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that sees those packages, the standard library, and nothing else."""
    view = tmp_path_factory.mktemp("site-packages")
    for each in (*_closure(LEAN).values(), distribution("claudetrace")):
        for file in each.files or ():
            source, target = Path(str(each.locate_file(file))), view / file
            if ".." not in file.parts and file.parts[0] != PAGES and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    target.symlink_to(source)
    for source in (ROOT / "claudetrace", ROOT / "dashboards" / PAGES):
        (view / source.name).symlink_to(source)
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}, "PYTHONPATH": str(view)}


def run(lean: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", *words]
    return subprocess.run(command, env=lean, capture_output=True, text=True, timeout=60, check=False)


def test_the_meter_works(lean: dict[str, str], db: Path, server: PlayServer) -> None:
    """Ledger, spans, records and a budget that blocks work, and reports and `doctor` on what they left."""
    from telemetry.receiver import Receiver

    server.add(_answers.answer(times=None))
    with Receiver() as receiver:
        ran = run(lean, "-c", PROGRAM, str(db), server.url, receiver.url, *LEFT_OUT)
        spans, records = len(receiver.spans), len(receiver.logs)

    assert (ran.returncode, "could not" in ran.stderr) == (0, False)
    assert ran.stdout.splitlines() == ["[]", "cap", "True", "['error', 'ok', 'ok'] 3"]
    assert (spans, records) == (2, 3)
    for command in ("report", "budgets", "doctor"):
        told = run(lean, "-m", "claudetrace", command, "--db", str(db))
        assert (command, told.returncode in (0, 1), "Traceback" in told.stderr) == (command, True, False)


@pytest.mark.parametrize(("command", "missing"), [("dashboard", "datasette"), ("collect", "uvicorn")])
def test_what_needs_more_says_so(command: str, missing: str, lean: dict[str, str], db: Path) -> None:
    """Commands that serve say which package is missing, and how to get it."""
    told = run(lean, "-m", "claudetrace", command, "--db", str(db))
    assert told.returncode == 2
    assert f"this needs the package {missing}, which is left out here: pip install {missing}" in told.stderr
