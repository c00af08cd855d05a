"""What tests of the ledger share."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def guard() -> Guard:
    return Guard()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def writer(db: Path, guard: Guard) -> Iterator[LedgerWriter]:
    made = LedgerWriter(db, guard=guard)
    yield made
    made.close()


@pytest.fixture
def query(db: Path) -> Callable[..., list[Any]]:
    """Answers of the ledger's file, read by a connection of its own."""

    def ask(sql: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(db)) as connection:
            return connection.execute(sql, values).fetchall()

    return ask
