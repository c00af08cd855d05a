"""The command line in this process, and the ledger of a demo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claudetrace.cli import main


def run(*words: object) -> Result:
    """What the command line says and ends with."""
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> tuple[Path, Result]:
    """The ledger of a demo, and what the demo said."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    return path, run("demo", "--no-serve", "--days", 0, "--db", path)


@pytest.fixture
def db(demo, tmp_path) -> Path:
    """A ledger of its own with the demo's calls."""
    return Path(shutil.copy(demo[0], tmp_path / "ledger.db"))
