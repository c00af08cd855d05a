"""How long the answers of earlier calls were."""

from __future__ import annotations

from contextlib import closing
from statistics import median_low
from typing import TYPE_CHECKING

from claudetrace._ledger._schema import connect_to_read
from claudetrace._pricing._listing import same_model

if TYPE_CHECKING:
    from pathlib import Path

RECENT_ROWS = 20_000
"""How far back to look: a model that is rare among them has no recent calls."""
ENOUGH_CALLS = 200
BUSY_MS = 200
RECENT = """
    SELECT model, model_requested, output_tokens
    FROM (
        SELECT operation, model, model_requested, feature, outcome, usage_is_final, output_tokens
        FROM calls
        ORDER BY started_at DESC
        LIMIT ?
    )
    WHERE feature IS ?
        AND operation = 'messages.create'
        AND outcome = 'ok'
        AND usage_is_final = 1
        AND output_tokens IS NOT NULL
"""


def median_output_tokens(db: Path, model: str, feature: str | None) -> int | None:
    """The median `output_tokens` of recent calls of `model` with `feature`, or without one; `None` without calls.

    A model is the same under all its names. Changes nothing in the ledger; raises `sqlite3.Error`.
    """
    known: dict[tuple[str | None, str | None], bool] = {}
    found: list[int] = []
    with closing(connect_to_read(db)) as connection:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        for served, asked, tokens in connection.execute(RECENT, (RECENT_ROWS, feature)):
            names = (served, asked)
            if names not in known:
                known[names] = same_model(served, model) or asked == model
            if known[names]:
                found.append(tokens)
            if len(found) == ENOUGH_CALLS:
                break
    return median_low(found) if found else None
