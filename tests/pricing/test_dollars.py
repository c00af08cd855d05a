"""How dollars print."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire

TINY = _wire.message("Hi.", _wire.usage(0, 0, cache_read=1), model="claude-haiku-4-5")
TEXT = "0.000000100000"
"""One token read from the cache, at 0.10 USD for a million."""


def test_every_public_amount_prints_plainly(server, client, start, ledger, db):
    """A price, a scope's total, a run's figures, a ledger's call and its spend have no exponent in their text."""
    server.add(_answers.answer(TINY))
    start()

    with claudetrace.tag(user="u") as scope, claudetrace.Budget("trip", usd="1e-3", per="run") as run:
        client.messages.create(model="claude-haiku-4-5", max_tokens=0, messages=[{"role": "user", "content": "?"}])
    (call,) = ledger()
    with claudetrace.Ledger(db) as opened:
        (spend,) = opened.spend()
    amounts = [
        *(claudetrace.price(TINY).usd, scope.cost_usd, run.spent_usd, run.reserved_usd, run.left_usd),
        *(run.budget.usd, call.cost_usd, spend.cost_usd, spend.cache_saved_usd),
    ]

    assert [str(amount) for amount in amounts] == [
        *(TEXT, TEXT, TEXT, "0.000000000000", "0.000999900000"),
        *("0.001", TEXT, TEXT, "0.000000900000"),
    ]
    assert [f"{amount:>20}" for amount in amounts] == [str(amount).rjust(20) for amount in amounts]


@pytest.mark.parametrize("usage", [{"input_tokens": 0, "output_tokens": 0}, TINY["usage"]])
def test_an_amount_stays_an_exact_decimal(usage):
    """What prints plainly is a `Decimal` like another: equal, summed, formatted, copied and pickled."""
    amount = claudetrace.price({**TINY, "usage": usage}).usd
    plain = Decimal(str(amount))

    assert (isinstance(amount, Decimal), amount, hash(amount)) == (True, plain, hash(plain))
    assert (amount + plain, f"{amount:.3f}", amount.as_tuple()) == (2 * plain, f"{plain:.3f}", plain.as_tuple())
    assert [str(each) for each in (copy.deepcopy(amount), pickle.loads(pickle.dumps(amount)))] == [str(amount)] * 2
