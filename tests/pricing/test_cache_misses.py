"""What missed the cache, by the API's own word, and what that cost."""

from __future__ import annotations

from typing import Any

import pytest

from claudetrace._demo._answers import answer, stream
from claudetrace._demo._wire import message

USAGE = {"input_tokens": 500, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 1500, "output_tokens": 10}
# 500 tokens at $3 and 1,500 at $3.75 a million are $3.5625 a million in the mean; read they would be at $0.30.
LOST_PICOUSD = 800 * (3_562_500 - 300_000)


def diagnosed(reason: dict[str, Any] | None) -> dict[str, Any]:
    whole = message("Hello.", USAGE, model="claude-sonnet-4-6")
    return {**whole, "diagnostics": {"cache_miss_reason": reason}}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_miss_is_recorded_with_what_it_cost(start, server, client, ledger, streamed):
    """An answer that says why it was not read from the cache has the reason, the tokens and the dollars lost."""
    told = diagnosed({"type": "system_changed", "cache_missed_input_tokens": 800})
    server.add(stream(told) if streamed else answer(told))
    start()

    asked = {"model": "claude-sonnet-4-6", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    made = client.messages.create(**asked, stream=streamed, diagnostics={"previous_message_id": "msg_1"})
    list(made)
    (call,) = ledger()

    assert (call.cache_miss_reason, call.cache_missed_input_tokens) == ("system_changed", 800)
    assert call.cache_lost_picousd == LOST_PICOUSD


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, (None, None, None)),
        ({"type": "unavailable"}, ("unavailable", None, None)),
        ({"type": "tools_changed", "cache_missed_input_tokens": 10**9}, ("tools_changed", 10**9, 2000 * 3_262_500)),
        ({"type": 7, "cache_missed_input_tokens": 1}, (None, None, None)),
        ({"type": "x" * 10_000, "cache_missed_input_tokens": "8"}, ("x", 8, 8 * 3_262_500)),
        ("nonsense", (None, None, None)),
    ],
)
def test_what_else_the_api_may_say(start, server, client, ledger, reason, told):
    """A reason without tokens costs nothing, and no more is lost than the prompt's unread tokens cost."""
    server.add(answer(diagnosed(reason)))
    start()

    client.messages.create(model="claude-sonnet-4-6", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    (call,) = ledger()

    said = call.cache_miss_reason and call.cache_miss_reason[:1] if told[0] == "x" else call.cache_miss_reason
    assert (said, call.cache_missed_input_tokens, call.cache_lost_picousd) == told
