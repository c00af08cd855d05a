"""A pytest plugin that has the meter on for a whole run, each process with a ledger of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import claudetrace

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Begins with an empty ledger."""
    folder = Path(os.environ["CLAUDETRACE_HOST_FOLDER"])
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        shutil.rmtree(folder, ignore_errors=True)
    mine = folder / (worker or "main")
    mine.mkdir(parents=True, exist_ok=True)
    claudetrace.instrument(db=mine / "ledger.db")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends with everything written."""
    claudetrace.flush(30)
    claudetrace.uninstrument()
