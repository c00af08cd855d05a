"""The price of a case by claudetrace."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import claudetrace

PACKAGE = "claudetrace"


def price(case: dict[str, Any]) -> Decimal | None:
    """Dollars, or `None` if the cost cannot be known."""
    at = datetime.fromisoformat(case["at"]).replace(tzinfo=UTC)
    return claudetrace.price(case["message"], at=at, **case.get("keywords", {})).usd
