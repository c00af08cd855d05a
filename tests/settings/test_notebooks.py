"""In IPython a cell is run again with other settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("IPython", reason="ipython is not installed: make test installs it")

CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
def run(cell):
    shell.run_cell(cell).raise_error()
run("import sys, claudetrace; first = claudetrace.instrument(db=sys.argv[1], tags={'team': 'a'})")
run("assert claudetrace.instrument(db=sys.argv[1], tags={'team': 'a'}) is first")
run("second = claudetrace.instrument(db=sys.argv[1], tags={'team': 'b'})")
run("assert claudetrace.instrument() is second and second.active and not first.active")
run("second.uninstrument()")
"""


def test_other_settings_replace_what_runs_and_say_so(tmp_path: Path) -> None:
    """A cell that is run again with other settings replaces what runs; one line on standard error says so."""
    ran = subprocess.run(
        [sys.executable, "-c", CELLS, str(tmp_path / "ledger.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)},
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == "claudetrace now records with tags={'team': 'b'}, not {'team': 'a'}\n"
