"""What an alert says."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, localcontext

import pytest

from claudetrace._alerts import _sentences
from claudetrace._budgets._budget import Budget


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("8", "$8.00"),
        ("1234567.895", "$1,234,567.90"),
        ("0", "$0.00"),
        ("0.01", "$0.01"),
        ("0.00123456", "$0.0012"),
        ("0.000000000001", "$0.000000000001"),
        ("1E+15", "$1,000,000,000,000,000.00"),
    ],
)
def test_money_is_readable(usd, text):
    """Dollars have cents, less than a cent has two digits, whatever precision the application has set."""
    with localcontext() as context:
        context.prec = 3
        assert _sentences.money(Decimal(usd)) == text


def test_a_threshold_says_what_happens():
    """A threshold's sentence tells what was spent of what, for whom, until when, and what to do."""
    end = datetime(2026, 12, 1, tzinfo=UTC)
    spent = {"spent_usd": Decimal(8), "calls": 90, "end": end}
    each = Budget("users", usd=10, max_calls=100, tags={"user": "*"})
    blocking = Budget("all", usd=8, on_exceeded="block")

    assert [
        _sentences.threshold(each, "u\n1", share=0.8, **spent),
        _sentences.threshold(blocking, None, share=1.0, **spent),
        _sentences.threshold(Budget("all", usd=8), None, share=1.0, **spent),
    ] == [
        (
            'Budget "users" of user "u 1" has reached 80 %, $8.00 of $10.00 and 90 of 100 calls until 2026-12-01 00:00 '
            "UTC: look at what is spending, or raise its limit."
        ),
        (
            'Budget "all" has reached 100 %, $8.00 of $8.00 until 2026-12-01 00:00 UTC: further calls are stopped: '
            "raise its limit, or wait."
        ),
        (
            'Budget "all" has reached 100 %, $8.00 of $8.00 until 2026-12-01 00:00 UTC: calls go on: make it '
            'on_exceeded="block" to stop them, or raise its limit.'
        ),
    ]
