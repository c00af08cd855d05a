"""What the content of an answer decides of its cost, in the ledger and by `price()`."""

from __future__ import annotations

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire

from ._asked import ASK, WAYS, created, from_batch, streamed, told

USAGE = _wire.usage(1_000, 7)
FULL = {created: 4_000_000_000 + 7 * 20_000_000, streamed: 4_000_000_000 + 7 * 20_000_000}
FULL[from_batch] = FULL[created] // 2
"""At 4 and 20 USD for a million tokens."""
CODE = {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_search", "input": {"query": "?"}}
FROM_CODE = {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_2", "content": []}
DIRECTLY = {"caller": {"type": "direct"}}
THOUGHT = {"type": "thinking", "thinking": "", "signature": ""}
HOP = {"type": "fallback", "from": {"model": "claude-fable-5"}, "to": {"model": "claude-opus-5-5"}, "trigger": {}}


def both(found, ledger):
    """Cost and flags as `price()` and as the ledger tell them."""
    cost, (call,) = claudetrace.price(found), ledger()
    return (int(cost.usd.scaleb(12)), cost.flags), (call.cost_picousd, call.cost_flags)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "content", [[], [_wire.text("")], [THOUGHT, _wire.text(""), _wire.text("")], [HOP], [HOP, THOUGHT]]
)
def test_a_refusal_that_produced_nothing_is_free(client, server, start, ledger, way, content):
    """No block, empty texts and thoughts and the mark of a fallback are no output: such a refusal costs nothing."""
    start()
    found = way(client, server, _wire.message(content, USAGE, model=ASK["model"], stop_reason="refusal"))

    assert both(found, ledger) == ((0, ("unbilled_refusal",)),) * 2


def test_a_delta_of_an_empty_signature_is_no_output(client, server, start, ledger):
    """A thought that begins and is signed with nothing is none, in a stream as in the message that it makes."""
    start()
    message = _wire.message([THOUGHT], USAGE, model=ASK["model"], stop_reason="refusal")
    begun, block, *rest = _wire.stream_events(message)
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": ""}}
    found = told(client, server, [begun, block, delta, *(each for each in rest if each["type"] != delta["type"])])

    assert both(found, ledger) == ((0, ("unbilled_refusal",)),) * 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "content",
    [
        [_wire.text(""), _wire.text("I")],
        [{**THOUGHT, "thinking": "Hm"}],
        [_wire.tool_use("find", {})],
        [{"type": "redacted_thinking", "data": "x"}],
    ],
)
def test_a_refusal_after_output_is_billed(client, server, start, ledger, way, content):
    """One letter of text, a thought, a tool that is asked for: what was produced is billed."""
    start()
    found = way(client, server, _wire.message(content, USAGE, model=ASK["model"], stop_reason="refusal"))

    assert both(found, ledger) == ((FULL[way], ()),) * 2


def test_a_stream_that_refuses_after_an_empty_delta_is_free(client, server, start, ledger):
    """Deltas without text are no output, also where the first one has been timed."""
    start()
    events = _wire.stream_events(_wire.message("", USAGE, model=ASK["model"], stop_reason="refusal"))
    empty = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}
    server.add(_answers.stream_of([*events[:2], empty, empty, *events[2:]]))
    with client.messages.stream(**ASK) as stream:
        found = stream.get_final_message()

    assert both(found, ledger) == ((0, ("unbilled_refusal",)),) * 2
    assert ledger()[0].time_to_first_token_ms is not None


def test_a_refusal_that_says_nothing_of_content_goes_by_its_output(client, server, start, ledger):
    """A body without content is judged by its output tokens, in the ledger as by `price()`."""
    start()
    whole = _wire.message("", USAGE, model=ASK["model"], stop_reason="refusal")
    del whole["content"]
    server.add(_answers.answer(whole))
    client.messages.create(**ASK)

    assert both(whole, ledger) == ((FULL[created], ()),) * 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("content", "counted", "flags"),
    [
        ([CODE], 0, ("unpriced_component",)),
        ([], 2, ("unpriced_component",)),
        ([CODE, SEARCH | DIRECTLY], 1, ("unpriced_component",)),
        ([CODE, SEARCH | FROM_CODE], 0, ()),
        ([SEARCH | FROM_CODE, CODE], 1, ()),
        ([CODE, FOUND | FROM_CODE], 1, ()),
        ([CODE, SEARCH | FROM_CODE | {"name": "web_fetch"}], 1, ()),
        ([CODE, SEARCH | FROM_CODE | {"name": "lookup"}], 1, ("unpriced_component",)),
    ],
)
def test_code_is_free_where_a_web_tool_was_called_from_it(client, server, start, ledger, way, content, counted, flags):
    """`price()` and the ledger have one rule, whichever of content and usage tells that code ran."""
    start()
    usage = _wire.usage(1_000, 7, server_tool_use={"code_execution_requests": counted})
    found = way(client, server, _wire.message([_wire.text("Done."), *content], usage, model=ASK["model"]))

    assert both(found, ledger) == ((FULL[way], flags),) * 2


def test_a_repriced_row_knows_that_its_code_was_free(client, server, start, ledger):
    """What the request told of code goes into the row's terms: priced again from itself, it has no flag either."""
    start()
    usage = _wire.usage(1_000, 7, server_tool_use={"code_execution_requests": 1})
    server.add(_answers.answer(_wire.message([CODE], usage, model=ASK["model"])))
    client.messages.create(**ASK, tools=[{"type": "web_search_20260209", "name": "web_search"}])
    (call,) = ledger()

    assert (call.cost_flags, call.pricing_terms) == ((), {"platform": "anthropic", "free_code": True})
