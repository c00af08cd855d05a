"""Answers whose text has no end."""

from __future__ import annotations

import anthropic
import pytest

from claudetrace._demo import _answers, _wire

from ._asked import ASK, created, told

LONG = "x" * 2**20
USAGE = {"input_tokens": 1_000, "output_tokens": 10}
COST = 1_000 * 4_000_000 + 10 * 20_000_000


@pytest.fixture(autouse=True)
def meter(start):
    return start()


@pytest.mark.parametrize(
    ("usage", "flags"),
    [
        ({"service_tier": LONG}, ("unpriced_component",)),
        ({"note": LONG}, ()),
        ({LONG: 1}, ()),
        ({f"note_{number}": "x" for number in range(20_000)}, ("unpriced_component",)),
        ({"server_tool_use": {f"tool_{number}": 1 for number in range(20_000)}}, ("unpriced_component",)),
        ({"notes": [LONG] * 3}, ()),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_usage_without_end_is_cut_and_priced(client, server, ledger, usage, flags, streamed):
    """What is known of a usage is priced whatever comes with it; what is kept is bounded, what was left out told."""
    usage = {**usage, **USAGE}
    whole = _wire.message("Hello.", usage, model=ASK["model"])
    if streamed:
        events = _wire.stream_events(whole)
        told(client, server, [*events[:-2], {**events[-2], "usage": usage}, events[-1]])
    else:
        created(client, server, whole)
    (call,) = ledger()

    assert (call.cost_picousd, call.cost_flags) == (COST, flags)
    assert len(str(call.usage)) < 200_000


def test_names_without_end_are_cut_and_say_so(client, server, ledger):
    """Ids, reasons and models of a megabyte are kept short, marked, and told apart."""
    for last in "ab":
        whole = _wire.message("Hello.", USAGE, message_id=LONG + last, stop_reason=LONG, model=ASK["model"])
        created(client, server, whole)
    first, second = ledger()

    assert first.message_id != second.message_id
    assert [
        len(text) < 1_100 and "cut from 1048577 characters" in text for text in (first.message_id, second.message_id)
    ] == [
        True,
        True,
    ]
    assert (len(first.stop_reason) < 1_100, first.cost_picousd) == (True, COST)


def test_an_error_type_without_end_is_cut(client, server, ledger):
    """The type of an error, in a body as in a stream, is kept short and marked."""
    server.add(_answers.failure(400, LONG))
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ASK)
    events = [*_wire.stream_events(_wire.message("Hello.", USAGE, model=ASK["model"]))[:3], _wire.error(LONG)]
    with pytest.raises(anthropic.APIStatusError):
        told(client, server, events)

    assert [len(call.error_type) < 1_100 and "… (cut from 1048576" in call.error_type for call in ledger()] == [
        True,
        True,
    ]
