"""What a response costs: dated rates, and the rules that turn a usage object into an exact amount."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claudetrace._pricing._bill import Priced
    from claudetrace._pricing._engine import price_response
    from claudetrace._pricing._estimate import Estimate, estimate
    from claudetrace._pricing._own import OwnRates, load_own_rates
    from claudetrace._pricing._price import price
    from claudetrace._pricing._row import at_day_of_batch, price_row
    from claudetrace._pricing._terms import Terms

_WHERE = {
    "Estimate": "_estimate",
    "OwnRates": "_own",
    "Priced": "_bill",
    "Terms": "_terms",
    "at_day_of_batch": "_row",
    "estimate": "_estimate",
    "load_own_rates": "_own",
    "price": "_price",
    "price_response": "_engine",
    "price_row": "_row",
}

__all__ = [
    "Estimate",
    "OwnRates",
    "Priced",
    "Terms",
    "at_day_of_batch",
    "estimate",
    "load_own_rates",
    "price",
    "price_response",
    "price_row",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'claudetrace._pricing' has no attribute {name!r}")
    value = getattr(import_module(f"claudetrace._pricing.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
