"""The meter for the Claude API: what each call cost, who caused it and how it went.

import claudetrace

claudetrace.instrument()                              # records every call of this process from here on

with claudetrace.tag(customer="acme") as scope:       # says who the calls of a block are for
    client.messages.create(...)
print(scope.cost_usd)

Then, in a shell: `claudetrace report --by customer`. `help(claudetrace.instrument)` lists all settings.
"""

from __future__ import annotations

from importlib import import_module

from claudetrace._version import __version__ as __version__

# As `typing` has it: that module takes longer to import than all the rest here, and a program of `claudetrace run`
# that never calls Claude needs no more than this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._run import Run
    from claudetrace._budgets._status import BudgetState
    from claudetrace._call import Call, Cost, CostPart, Usage
    from claudetrace._consumers import Sink
    from claudetrace._errors import BudgetExceeded, ClaudetraceError
    from claudetrace._estimate import estimate
    from claudetrace._instrument import Instrumentation, flush, instrument, uninstrument
    from claudetrace._ledger._read import Ledger
    from claudetrace._ledger._spend import Spend
    from claudetrace._pricing._estimate import Estimate
    from claudetrace._pricing._price import price
    from claudetrace._record import record
    from claudetrace._states import budgets
    from claudetrace._tags import TagScope, tag, tag_results, tagged
    from claudetrace._testing import Recorded

_WHERE = {
    "instrument": "_instrument",
    "uninstrument": "_instrument",
    "flush": "_instrument",
    "Instrumentation": "_instrument",
    "Sink": "_consumers",
    "Budget": "_budgets._budget",
    "Alert": "_alerts._alert",
    "record": "_record",
    "budgets": "_states",
    "tag": "_tags",
    "tag_results": "_tags",
    "TagScope": "_tags",
    "Recorded": "_testing",
    "Run": "_budgets._run",
    "BudgetState": "_budgets._status",
    "Spend": "_ledger._spend",
    "tagged": "_tags",
    "price": "_pricing._price",
    "estimate": "_estimate",
    "Estimate": "_pricing._estimate",
    "Call": "_call",
    "Usage": "_call",
    "Cost": "_call",
    "CostPart": "_call",
    "Ledger": "_ledger._read",
    "ClaudetraceError": "_errors",
    "BudgetExceeded": "_errors",
}

__all__ = [
    "Alert",
    "Budget",
    "BudgetExceeded",
    "BudgetState",
    "Call",
    "ClaudetraceError",
    "Cost",
    "CostPart",
    "Estimate",
    "Instrumentation",
    "Ledger",
    "Recorded",
    "Run",
    "Sink",
    "Spend",
    "TagScope",
    "Usage",
    "budgets",
    "estimate",
    "flush",
    "instrument",
    "price",
    "record",
    "tag",
    "tag_results",
    "tagged",
    "uninstrument",
]


# A type checker that saw it would find no fault with a misspelled name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'claudetrace' has no attribute {name!r}")
        value = getattr(import_module(f"claudetrace.{_WHERE[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
