"""The rules of alerts with a clock of the test's."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from claudetrace._alerts._rules import Rules
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._totals import Totals
from claudetrace._guard import Guard
from claudetrace._ids import utc_text

USD = 10**12
DAY = datetime(2026, 11, 16, tzinfo=UTC).timestamp()


class Watched:
    """The rules with a clock of the test's, and a spend that adds up what they are shown, as the store does."""

    def __init__(self, *budgets, sender=None):
        self.now = DAY
        self.alerts = []
        self.guard = Guard()
        self.sums = {}
        self.rules = Rules(
            budgets,
            raise_alert=sender.raise_alert if sender else lambda alert, mark: self.alerts.append(alert),
            guard=self.guard,
            totals=self.totals,
            clock=lambda: self.now,
        )

    def totals(self, budget, key, window):
        rows = self.sums.get((budget.name, key), [])
        inside = [picousd for at, picousd in rows if window.start <= at]
        return Totals(sum(inside), len(inside), 0, 0)

    def call(self, usd="0.10", *, after_s=0.0, lasting_s=1.0, key="", **columns):
        self.now += after_s
        picousd = None if usd is None else int(Decimal(usd) * USD)
        row = {
            "id": "i",
            "call_id": "i",
            "operation": "messages.create",
            "started_at": utc_text(int((self.now - lasting_s) * 1e9)),
            "duration_ms": lasting_s * 1000,
            "outcome": "ok",
            "model": "claude-sonnet-5",
            "message_count": 1,
            "cost_flags": "[]",
            **columns,
        }
        if picousd is not None:
            row["cost_picousd"] = picousd
        for budget in self.rules.budgets:
            self.sums.setdefault((budget.name, key), []).append((self.now, picousd or 0))
        self.rules.rows([row])

    @property
    def kinds(self):
        assert self.guard.failures == {}
        return [alert.kind for alert in self.alerts]


def day_budget(usd=100, **more):
    return Budget("all", usd=usd, per="day", **more)
