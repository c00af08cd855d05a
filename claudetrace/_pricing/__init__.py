"""What a response costs: dated rates, and the rules that turn a usage object into an exact amount."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claudetrace._pricing._bill import Priced as Priced
    from claudetrace._pricing._engine import price_response as price_response
    from claudetrace._pricing._estimate import Estimate as Estimate
    from claudetrace._pricing._estimate import estimate as estimate
    from claudetrace._pricing._own import OwnRates as OwnRates
    from claudetrace._pricing._own import load_own_rates as load_own_rates
    from claudetrace._pricing._price import price as price
    from claudetrace._pricing._terms import Terms as Terms

_MODULES = {
    **dict.fromkeys(("Estimate", "estimate"), "_estimate"),
    **dict.fromkeys(("OwnRates", "load_own_rates"), "_own"),
    "Priced": "_bill",
    "Terms": "_terms",
    "price": "_price",
    "price_response": "_engine",
}
"""The module of each name, which is loaded when the name is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'claudetrace._pricing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"claudetrace._pricing.{_MODULES[name]}"), name)
    return value
