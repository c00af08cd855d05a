"""What tests of the budgets share."""

from __future__ import annotations

import multiprocessing
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claudetrace import _switch
from claudetrace._guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """A crowd whose test has failed would go on for ever."""
    yield
    for child in multiprocessing.active_children():
        child.kill()


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.budgets"


@pytest.fixture
def query(path: Path) -> Callable[..., list[Any]]:
    """Answers of the store's file, read by a connection of its own."""

    def ask(sql: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql, values).fetchall()

    return ask


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `instrument()` ran: a run may be entered."""
    monkeypatch.setattr(_switch.watching, "on", True)
