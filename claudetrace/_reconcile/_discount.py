"""What is billed for a list price: by the settings, else as the last reconciliation measured it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._call import exact_usd
from claudetrace._errors import ClaudetraceError
from claudetrace._reconcile._settings import bill_settings

if TYPE_CHECKING:
    import sqlite3
    from decimal import Decimal

MEASURED = """
    SELECT
        SUM(list_picousd / 1000000),
        SUM(list_picousd % 1000000),
        SUM(billed_picousd / 1000000),
        SUM(billed_picousd % 1000000),
        MIN(day),
        MAX(day)
    FROM bill
    WHERE scope = (SELECT scope FROM bill ORDER BY reconciled_at DESC LIMIT 1)
        AND judged
        AND list_picousd > 0
        AND day >= (SELECT DATE(MAX(day), '-31 days') FROM bill)
"""


class Discount(NamedTuple):
    """The share of the list price that is not billed, and how it is known."""

    share: Fraction
    known_by: str

    def billed_usd(self, list_picousd: int) -> Decimal:
        """What is billed for this list price, to the picodollar."""
        return exact_usd(round(list_picousd * (1 - self.share)))


def known_discount(connection: sqlite3.Connection) -> Discount:
    """The discount. Raises `ClaudetraceError` where nobody has told or measured one."""
    if (told := bill_settings().discount) is not None:
        return Discount(told, "as [reconcile] discount says")
    whole, rest, billed, billed_rest, first, last = connection.execute(MEASURED).fetchone()
    if not whole and not rest:
        raise ClaudetraceError(
            "no discount is known: run `claudetrace reconcile`, which measures it, or set discount under [reconcile] "
            "in the file that CLAUDETRACE_CONFIG names"
        )
    share = 1 - Fraction(billed * 10**6 + billed_rest, whole * 10**6 + rest)
    return Discount(share, f"as `claudetrace reconcile` measured it from {first} to {last}")
