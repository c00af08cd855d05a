"""`release`: lets go, by command, of what a budget holds for cut streams."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from claudetrace._budgets._sqlite._file import begin, connect
from claudetrace._budgets._sqlite._view import reading
from claudetrace._errors import ClaudetraceError

PATIENCE_S = 10.0
NAMES = "SELECT name FROM budgets GROUP BY name ORDER BY MIN(id)"
OF_BUDGET = """
    picousd > 0
    AND budget_id IN (SELECT id FROM budgets WHERE name = ?1)
    AND (?2 IS NULL OR key = ?2)
"""
HELD = f"SELECT picousd FROM held WHERE {OF_BUDGET}"  # noqa: S608 - SQL of ours
RELEASE = f"UPDATE held SET picousd = 0 WHERE {OF_BUDGET}"  # noqa: S608 - SQL of ours
"""The rows stay, so that a stream whose row comes later is not held again."""


def release(store: str | Path, name: str, key: str | None = None) -> list[int]:
    """As `_connect.release`."""
    path = Path(store)
    with reading(path) as connection:
        known = [each for (each,) in connection.execute(NAMES).fetchall()]
    if name not in known:
        there = ", ".join(repr(each) for each in known) or "none"
        raise ClaudetraceError(f"there is no budget {name!r} in {path}; there is {there}")
    with closing(connect(path, "rw")) as connection:
        begin(connection, PATIENCE_S)
        found = [picousd for (picousd,) in connection.execute(HELD, (name, key)).fetchall()]
        connection.execute(RELEASE, (name, key))
        connection.execute("COMMIT")
    return found
