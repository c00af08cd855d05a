"""The rate limit with the least room is on the row, with how much of it is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .kinds._kit import ASK
from .kinds._plays import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    import anthropic

    import claudetrace
    from claudetrace._demo._server import PlayServer


@pytest.mark.parametrize(
    ("of_requests", "of_tokens", "told"),
    [
        (("10", "5"), ("10", "4"), (0.4, "input-tokens")),
        (("10", "5"), ("10", "-4"), (0.5, "requests")),
        (("10", "5"), ("10", "none"), (0.5, "requests")),
        (("0", "5"), ("10", "10"), (1.0, "input-tokens")),
        (("10", "11"), ("10", "20"), (1.0, "input-tokens")),
        (("10", "10"), ("10", "20"), (1.0, "input-tokens")),
        (("10", "-1"), ("0", "0"), (None, None)),
    ],
    ids=str,
)
def test_the_least_room_is_told(
    of_requests: tuple[str, str],
    of_tokens: tuple[str, str],
    told: tuple[float | None, str | None],
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    ledger: Callable[[], list[claudetrace.Call]],
) -> None:
    """No limit has more room than all of itself; of equal ones the last is told. Values that say nothing are passed
    over."""
    headers = {
        f"anthropic-ratelimit-{name}-{part}": value
        for name, limit in (("requests", of_requests), ("input-tokens", of_tokens))
        for part, value in zip(("limit", "remaining"), limit, strict=True)
    }
    start()
    server.add(json_answer(headers=headers))
    client.messages.create(**ASK)

    (call,) = ledger()
    assert (call.rate_limit_headroom, call.rate_limit) == told
