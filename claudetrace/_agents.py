"""The table `[agents]` of the settings file: who pays for Claude Code, and what a query may reserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from claudetrace._errors import ClaudetraceError

BILLINGS = ("api", "credit", "subscription", "unknown")
"""The words of the column `billing`. What a subscription pays is left out of spend."""

RESERVE_USD = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """What the settings say of agents."""

    billing: str = "unknown"
    """Who pays for the transcripts that are imported."""
    reserve_usd: Decimal = RESERVE_USD
    """What a query that says nothing of it sets aside in budgets that block."""


def agents(name: str, value: Any) -> Agents:
    """The checked table. Raises `ClaudetraceError`, naming what is impossible and the way out."""
    if not isinstance(value, Mapping) or value.keys() - {"billing", "reserve_usd"}:
        raise ClaudetraceError(f'{name}={value!r:.200} cannot be used: it may hold billing = "…" and reserve_usd = 1.0')
    said: dict[str, Any] = dict(value)
    if said.get("billing", "api") not in BILLINGS:
        raise ClaudetraceError(f"{name}, billing={said['billing']!r} is not one of {', '.join(BILLINGS)}")
    if "reserve_usd" in said:
        usd = said["reserve_usd"]
        if isinstance(usd, bool) or not isinstance(usd, (int, float, Decimal)) or not 0 < usd < 10**6:
            raise ClaudetraceError(f"{name}, reserve_usd={usd!r} cannot be used: give dollars above 0")
        said["reserve_usd"] = Decimal(str(usd))
    return Agents(**said)
