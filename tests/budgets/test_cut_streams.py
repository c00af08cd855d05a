"""What a stream that was cut can still be billed: held under `cut_streams="bound"`, and nothing otherwise."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import pickle
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import _bedrock
import anthropic
import crowd_of_streams
import pytest
from _asking import ASK, MODEL, block, state, states
from click.testing import CliRunner

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import Exchange, PlayServer
from claudetrace.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._demo._server import Received

SEEN = Decimal("0.00021")
"""100 tokens read at $2 a million, and the one of `message_start` written at $10 a million."""
REST = Decimal("0.00099")
"""The other 99 of `max_tokens`."""
LONG = _wire.message("word " * 50, _wire.usage(100, 50), model=MODEL)
SPAWN = multiprocessing.get_context("spawn")


def bound(name: str = "cap", **said: Any) -> claudetrace.Budget:
    return block(name, cut_streams="bound", **said)


def cut_off(server: PlayServer, **exchange: Any) -> None:
    server.add(_answers.stream(LONG, pieces=40, **{"pause_s": 0.02, **exchange}))


def close(client: anthropic.Anthropic) -> None:
    with client.messages.create(**ASK, stream=True) as stream:
        next(iter(stream))


def leave_the_helper(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ASK) as stream:
        next(iter(stream))


def drop(client: anthropic.Anthropic) -> None:
    stream = client.messages.create(**ASK, stream=True)
    next(iter(stream))
    del stream
    gc.collect()


def wait_too_short(client: anthropic.Anthropic) -> None:
    with pytest.raises(Exception, match="timed out"):
        list(client.with_options(timeout=0.2).messages.create(**ASK, stream=True))


def lose(client: anthropic.Anthropic) -> None:
    with pytest.raises(Exception, match=r"peer closed|incomplete|closed"):
        list(client.messages.create(**ASK, stream=True))


def leave_raw(client: anthropic.Anthropic) -> None:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        next(line for line in response.iter_lines() if "content_block_start" in line)


CUTS: dict[str, tuple[Callable[[anthropic.Anthropic], None], dict[str, Any]]] = {
    "closed": (close, {}),
    "left in a helper": (leave_the_helper, {}),
    "dropped": (drop, {}),
    "timed out": (wait_too_short, {"pause_s": 1.0}),
    "connection lost": (lose, {"cut_after": 900}),
    "left raw": (leave_raw, {}),
}


@pytest.mark.parametrize(("cut", "exchange"), CUTS.values(), ids=CUTS)
def test_the_rest_of_a_stream_is_held_however_it_was_cut(
    client: anthropic.Anthropic,
    server: PlayServer,
    start: Any,
    cut: Callable[[anthropic.Anthropic], None],
    exchange: dict[str, Any],
) -> None:
    """Spent is what was seen, held what `max_tokens` allow beyond it, and left is without both; also when its row has
    been read from the ledger, and after a restart."""
    start(budgets=[bound(usd=1)])
    cut_off(server, **exchange)
    cut(client)

    for _ in range(2):
        now = state()
        assert (now.spent_usd, now.held_usd, now.reserved_usd) == (SEEN, REST, 0)
        assert now.left_usd == 1 - SEEN - REST
        start(budgets=[bound(usd=1)])


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_the_rest_of_an_async_stream_is_held(
    async_client: anthropic.AsyncAnthropic, server: PlayServer, start: Any, how: str
) -> None:
    """As of a sync one, also where its task is cancelled while it waits for more."""
    start(budgets=[bound()])
    cut_off(server, pause_s=0.5)
    begun = asyncio.Event()

    async def read() -> None:
        async with await async_client.messages.create(**ASK, stream=True) as stream:
            async for _ in stream:
                begun.set()
                if how == "closed":
                    break

    task = asyncio.create_task(read())
    await begun.wait()
    if how == "cancelled":
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (state().spent_usd, state().held_usd, state().reserved_usd) == (SEEN, REST, 0)


def test_the_rest_of_a_bedrock_stream_is_held(server: PlayServer, start: Any) -> None:
    """As its frames tell it."""
    start(budgets=[bound()])
    frames = _bedrock.frames(_wire.stream_events(LONG))
    server.add(Exchange(path="*", headers={"content-type": "application/vnd.amazon.eventstream"}, body=[*frames][:3]))
    keys: dict[str, Any] = {"aws_access_key": "k", "aws_secret_key": "k", "aws_region": "us-east-1"}
    with anthropic.AnthropicBedrock(base_url=server.url, max_retries=0, **keys) as client:
        list(client.messages.create(**{**ASK, "model": f"anthropic.{MODEL}"}, stream=True))

    assert (state().spent_usd, state().held_usd) == (SEEN, REST)


def test_the_rest_of_a_stream_that_the_api_breaks_off_is_held(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """An error amid the events is no end of the answer."""
    start(budgets=[bound()])
    server.add(_answers.stream_of([*_wire.stream_events(LONG)[:3], _wire.error("overloaded_error")]))
    with pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(**ASK, stream=True))

    assert (state().spent_usd, state().held_usd) == (SEEN, REST)


def test_nothing_is_held_by_default_or_of_what_was_answered_whole(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """A budget of `cut_streams="seen"` holds nothing; one of `"bound"` nothing of whole answers, streamed or not, of
    batches and their results, and of calls that failed."""
    start(budgets=[block("seen"), bound("bound")])
    cut_off(server)
    close(client)
    assert {each.budget.name: each.held_usd for each in states()} == {"seen": 0, "bound": REST}

    server.add(_answers.stream(LONG), _answers.answer(LONG), _answers.failure(529, "overloaded_error"))
    server.add(*_answers.batch("batch_1", {"a": LONG}))
    list(client.messages.create(**ASK, stream=True))
    client.messages.create(**ASK)
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASK, stream=True)
    client.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])  # type: ignore[typeddict-item]
    list(client.messages.batches.results("batch_1"))
    assert {each.budget.name: each.held_usd for each in states()} == {"seen": 0, "bound": REST}


def test_a_stream_that_broke_before_any_usage_is_charged_at_the_estimate(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """Nothing is held beside it: the estimate has all of `max_tokens` in it."""
    start(budgets=[bound()])
    cut_off(server, cut_after=5)
    with pytest.raises(Exception, match=r"peer closed|incomplete|closed"):
        list(client.messages.create(**ASK, stream=True))

    assert state().spent_usd > SEEN + REST
    assert (state().held_usd, state().reserved_usd) == (0, 0)


def test_what_is_held_stops_calls_and_is_no_spend(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """The error tells it apart; no threshold, forecast or spike counts it, and a count of calls neither."""
    alerts: list[claudetrace.Alert] = []
    start(budgets=[bound(usd="0.003", max_calls=100)], alert_to=[alerts.append])
    cut_off(server, times=None)

    def close_on() -> None:
        for _ in range(9):
            close(client)

    with pytest.raises(claudetrace.BudgetExceeded) as stopped:
        close_on()

    error = pickle.loads(pickle.dumps(stopped.value))
    held = error.held_usd
    assert (error.spent_usd, held, error.reserved_usd) == (held / REST * SEEN, int(held / REST) * REST, 0)
    assert type(error) is claudetrace.BudgetExceeded
    assert f"and ${held.normalize():f} held for cut streams" in str(error)
    assert error.spent_usd + held + error.needed_usd > error.limit_usd
    assert (state().spent_usd, state().held_usd) == (error.spent_usd, held)
    assert [alert.kind for alert in alerts] in ([], ["blocked"])


def test_a_run_holds_the_rest_in_memory(client: anthropic.Anthropic, server: PlayServer, start: Any) -> None:
    """Of the run that says so, until it is over; one around it counts what was seen."""
    start()
    for _ in range(3):
        cut_off(server)
    with claudetrace.Budget(usd=1, per="run") as outer:
        with claudetrace.Budget(usd="0.0035", per="run", cut_streams="bound") as run:
            close(client)
            drop(client)
            with pytest.raises(claudetrace.BudgetExceeded, match=r"held for cut streams"):
                close(client)
        close(client)

    assert (run.spent_usd, run.held_usd, run.left_usd) == (2 * SEEN, 2 * REST, Decimal("0.0035") - 2 * (SEEN + REST))
    assert (outer.spent_usd, outer.held_usd, outer.left_usd) == (3 * SEEN, 0, 1 - 3 * SEEN)


def test_a_program_without_the_budget_has_its_rests_held_by_its_rows(
    client: anthropic.Anthropic, server: PlayServer, start: Any
) -> None:
    """What had no reservation is held by its journal row, as what another program on the ledger calls."""
    start(budgets=[bound(on_exceeded="alert")])
    cut_off(server)
    close(client)

    assert (state().spent_usd, state().held_usd) == (SEEN, REST)


class Bill:
    """A server that bills each stream whole, whoever still reads it."""

    def __init__(self) -> None:
        self.usd = Decimal(0)
        self._lock = threading.Lock()

    def stream(self, _: Received) -> list[bytes]:
        with self._lock:
            self.usd += 10 * Decimal("0.000002") + 500 * Decimal("0.00001")
        return _wire.sse(_wire.stream_events(_wire.message("Hi.", _wire.usage(10, 500), model=MODEL)))


@pytest.mark.parametrize(("cut_streams", "least", "most"), [("seen", 1.3, 1.6), ("bound", 0.9, 1.0)])
def test_a_server_that_bills_streams_whole_bills_no_more_than_a_bound_budget(
    db: Path, cut_streams: str, least: float, most: float
) -> None:
    """From threads of two processes that leave every third stream: with `"bound"` all of the bill is spent or held,
    and within the cap, where with `"seen"` it is half as much again."""
    bill, cap = Bill(), Decimal(crowd_of_streams.CAP_USD)
    sse_type = {"content-type": "text/event-stream"}
    with PlayServer(Exchange(times=None, headers=sse_type, body=bill.stream)) as server:
        given = (str(db), server.url, cut_streams, 6)
        processes = [SPAWN.Process(target=crowd_of_streams.run, args=given) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert server.failures == []

    (now,) = told(db)
    print(f"{cut_streams}: {bill.usd / cap:.1%}")
    assert least * float(cap) <= bill.usd <= most * float(cap)
    if cut_streams == "bound":
        assert bill.usd == Decimal(now["spent_usd"]) + Decimal(now["held_usd"])


def told(db: Path) -> list[dict[str, Any]]:
    """The states that `claudetrace budgets --json` tells."""
    said = CliRunner().invoke(main, ["budgets", "--db", str(db), "--json"])
    return [state for each in json.loads(said.output)["budgets"] for state in each["states"]]
