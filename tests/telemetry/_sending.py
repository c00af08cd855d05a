"""What tests of records share: programs that record, and what is in their ledger."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claudetrace._ledger._schema import open_ledger

from ._decode import Log

PROGRAM = Path(__file__).with_name("_records.py")
PATIENCE_S = 60
PROTOCOLS = pytest.mark.parametrize("protocol", ["http", "grpc"])


def ask(db: Path, sql: str, *values: Any) -> list[Any]:
    with closing(open_ledger(db)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(found) for found in connection.execute(sql, values)]


def ids(arrived: list[Log]) -> list[str]:
    return [log.attributes["claudetrace.id"] for log in arrived]


def run(what: str, db: Path, url: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "telemetry._records", what, str(db), url],
        cwd=PROGRAM.parents[1],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **how,
    )


def told_by(process: subprocess.Popen[str]) -> list[str]:
    """What the program said until its end."""
    out, _ = process.communicate(timeout=PATIENCE_S)
    return out.split()
