"""What the store says of a budget, read in one way by whoever counts, shows or draws it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import orjson

from claudetrace._budgets._budget import Budget
from claudetrace._errors import ClaudetraceError

SHAPE = ("per", "timezone", "tags", "model")
"""What makes a budget another: the rest may change, and what was spent stays."""
FIELDS = frozenset(each.name for each in fields(Budget))


def shape_of(budget: Budget) -> str:
    """What two budgets of one name share if they are the same."""
    return _json({name: getattr(budget, name) for name in SHAPE})


def definition_of(budget: Budget) -> str:
    """The budget as the store holds it."""
    return _json({**asdict(budget), "usd": None if budget.usd is None else str(budget.usd)})


def budget_from(definition: str) -> Budget:
    """The budget of `definition_of`, of this version or another: what it does not know of it is left out. Raises
    `ClaudetraceError` where it cannot be used here, as with a time zone that this system does not have."""
    try:
        said: dict[str, Any] = orjson.loads(definition)
        return Budget(**{name: value for name, value in said.items() if name in FIELDS})
    except ClaudetraceError:
        raise
    except Exception as error:
        raise ClaudetraceError(f"its definition cannot be read ({type(error).__name__}: {error})") from error


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
