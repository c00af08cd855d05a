"""Requests to bind, and a short way to do it."""

from __future__ import annotations

from typing import Any

from claudetrace._pricing._own import load_own_rates
from claudetrace._pricing._terms import Terms
from claudetrace._pricing._upper_bound import Bound, bound

DAY = "2026-11-20"
OPUS = "claude-opus-5-5"
HELLO: dict[str, Any] = {"model": OPUS, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
OWN = load_own_rates({"discount": 0.2, "models": {"claude-haiku-5-5": {"discount": 0.5}}})
"""Own prices, for `Terms.with_own_rates`."""


def of(body: dict[str, Any], operation: str = "messages.create", **more: Any) -> Bound:
    """The bound of a request on the day of these tests."""
    given: dict[str, Any] = {"model": None, "terms": Terms(), "day": DAY}
    return bound(body, operation=operation, **{**given, **more})
