"""What the tests of tags ask and are answered: one model, one price."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anthropic

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import Exchange

ASK: dict[str, Any] = {
    "model": _wire.MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello?"}],
}
HELLO = _wire.message("Hello there, and a long way round.", _wire.usage(1_000, 50))
HELLO_USD = claudetrace.price(HELLO).usd or Decimal()
"""As priced today; that prices are right is proven elsewhere."""


def hello_exchanges() -> list[Exchange]:
    """Answers to any number of calls: a stream where one is asked for, 404 for the model `missing`."""
    missing = _answers.failure(404, "not_found_error", when=lambda body: body["model"] == "missing", times=None)
    unpriced = _answers.answer(
        _wire.message("Hello.", _wire.usage(10, 5), model="claude-unheard-of-9"),
        when=lambda body: body["model"] == "claude-unheard-of-9",
        times=None,
    )
    stream = _answers.stream(HELLO, when=lambda body: bool(body.get("stream")), times=None)
    return [missing, unpriced, stream, _answers.answer(HELLO, times=None)]


def say(client: anthropic.Anthropic, **more: Any) -> anthropic.types.Message:
    """One call, answered at once."""
    return client.messages.create(**{**ASK, **more})


async def say_async(client: anthropic.AsyncAnthropic, **more: Any) -> anthropic.types.Message:
    """One call, answered at once."""
    return await client.messages.create(**{**ASK, **more})
