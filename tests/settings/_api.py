"""One call, for the tests of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic

import claudetrace
from claudetrace._demo import _wire

ASK: dict[str, Any] = {
    "model": _wire.MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello?"}],
}


def say(client: anthropic.Anthropic, number: object = None) -> anthropic.types.Message:
    with claudetrace.tag(number=number):
        return client.messages.create(**ASK)


def rows(db: Path) -> list[claudetrace.Call]:
    """The rows of `db`, oldest first."""
    with claudetrace.Ledger(db) as ledger:
        return ledger.calls()[::-1]


def numbers(db: Path) -> list[str | None]:
    return [call.tags.get("number") for call in rows(db)]
