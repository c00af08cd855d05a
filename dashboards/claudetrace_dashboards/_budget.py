"""What may be spent in a month: as the budgets' store says, or the plugin's setting."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace_dashboards._format import PICOUSD

if TYPE_CHECKING:
    from claudetrace_dashboards._panel import Scope

PLUGIN = "claudetrace"
SETTING = "budget_usd_a_month"
STORED = "SELECT name, definition FROM budgets ORDER BY used_at DESC, id DESC LIMIT 100"


class Limit(NamedTuple):
    """A month's budget for all calls: its name, and how much it is."""

    name: str
    picousd: int


def monthly_limit(scope: Scope) -> Limit | None:
    """The setting `budget_usd_a_month` of the plugin, else the first monthly budget of all calls in the ledger's
    store of budgets; `None` where there is neither, and where filters ask for a part of the calls."""
    if scope.filters.asked():
        return None
    # Datasette 1.0 asked for a database's settings does not look further.
    plugin_config = scope.datasette.plugin_config
    config: Any = plugin_config(PLUGIN, database=scope.ledger.name) or plugin_config(PLUGIN) or {}
    amount = _picousd(config.get(SETTING)) if isinstance(config, dict) else None
    if amount is not None:
        return Limit("the setting", amount)
    return next(_stored(f"{scope.ledger.db.path}.budgets"), None) if scope.ledger.db.path else None


def _stored(path: str) -> Any:
    """The monthly budgets in the store that bound all calls in dollars."""
    if not Path(path).is_file():
        return
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            rows = connection.execute(STORED).fetchall()
    except sqlite3.Error:
        # The budgets' own commands say what is wrong with it; here there is no line for it.
        return
    for name, definition in rows:
        said = _read(definition)
        amount = _picousd(said.get("usd"))
        if said.get("per", "month") == "month" and not said.get("tags") and not said.get("model") and amount:
            yield Limit(str(name), amount)


def _read(definition: str) -> dict[str, Any]:
    try:
        said = json.loads(definition)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _picousd(usd: Any) -> int | None:
    try:
        return int(Decimal(str(usd)) * PICOUSD) if usd is not None and Decimal(str(usd)) > 0 else None
    except (InvalidOperation, ValueError):
        return None
