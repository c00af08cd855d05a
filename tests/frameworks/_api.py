"""What the frameworks' apps ask, and the dependency group that has the frameworks."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import claudetrace
from claudetrace._demo import _wire

REASON = "is not here: install the dependency group `frameworks`"
ASK: dict[str, Any] = {
    "model": _wire.MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello?"}],
}
HELLO = _wire.message("Hello there, and a long way round.", _wire.usage(1_000, 50))
HELLO_USD = claudetrace.price(HELLO).usd or Decimal()


def facts(call: claudetrace.Call) -> tuple[Any, ...]:
    """What a call by way of a library must have like any other."""
    return (call.operation, call.outcome, call.streamed, call.input_tokens, call.output_tokens, call.cost_usd)


def seen(streamed: bool) -> tuple[Any, ...]:
    """The facts of one call that was answered with `HELLO`."""
    return ("messages.create", "ok", streamed, 1_000, 50, HELLO_USD)


def recipe_of(framework: str) -> str:
    """The code of docs/web.md for a streaming endpoint of `framework`."""
    page = (Path(__file__).parents[2] / "docs/web.md").read_text()
    chapter = page.partition("## A streaming endpoint")[2].partition("\n## ")[0]
    return dict(re.findall(r"^(\w+):\n\n```python\n(.*?)```", chapter, re.DOTALL | re.MULTILINE))[framework]
