"""How long the rest of a cut stream is held, and what of it outlives the death of its process."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from _asking import MODEL, block, state, until
from _keeping import Demand, Kept

import claudetrace
from claudetrace._budgets._sqlite import _upkeep
from claudetrace._demo import _answers, _wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claudetrace._demo._server import PlayServer
    from claudetrace._guard import Guard

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86_400
SEEN, REST = Decimal("0.00021"), Decimal("0.00099")
"""100 tokens read at $2 a million and one written at $10 a million; the other 99 of `max_tokens`."""


def cut_row(call: str, at: float = NOON, **columns: Any) -> dict[str, Any]:
    started = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fixed = {"id": call, "call_id": call, "started_at": started, "operation": "messages.create", "streamed": 1}
    seen = {"input_tokens": 100, "output_tokens": 1, "cost_picousd": int(SEEN * 10**12), "usage_is_final": 0}
    usage = '{"input_tokens":100,"output_tokens":1}'
    return {**fixed, **seen, "model": MODEL, "max_tokens": 100, "usage": usage, "cost_flags": "[]", **columns}


class Program:
    """A program with one budget on the store, by a clock that is set."""

    def __init__(self, path: Path, guard: Guard, **said: Any) -> None:
        self.now = NOON
        self.kept = Kept([block(**{"cut_streams": "bound", **said})], path, guard=guard, clock=lambda: self.now)

    def tend_at(self, now: float) -> None:
        self.now = now
        self.kept.keep_house()

    @property
    def sums(self) -> tuple[Decimal, Decimal, Decimal]:
        """Spent, reserved and held in the window of now."""
        (only,) = self.kept.status()
        return only.spent_usd, only.reserved_usd, only.held_usd


@pytest.fixture
def program(path: Path, guard: Guard) -> Any:
    made: list[Program] = []

    def begin(**said: Any) -> Program:
        made.append(Program(path, guard, **said))
        return made[-1]

    yield begin
    for each in made:
        each.kept.close()


@pytest.mark.parametrize(
    ("per", "kept", "gone", "spent"),
    [
        ("hour", NOON + HOUR - 1, NOON + HOUR, 0),
        ("day", NOON + 12 * HOUR - 1, NOON + 12 * HOUR, 0),
        ("month", NOON + 2 * DAY, NOON + 10 * DAY, 0),
        ("total", NOON + DAY - 1, NOON + DAY, SEEN),
        ("rolling:7d", NOON + DAY - 1, NOON + DAY, SEEN),
        ("rolling:1h", NOON + HOUR - 60, NOON + HOUR + 120, 0),
    ],
)
def test_a_rest_is_let_go_at_the_end_of_its_window_or_after_a_day(
    program: Callable[..., Program], per: str, kept: float, gone: float, spent: Decimal
) -> None:
    """A window by the calendar holds it to its end, one without such an end for a day; nothing holds it again when its
    row comes a second time."""
    one = program(per=per)
    one.kept.put([cut_row("a")])
    one.tend_at(kept)
    assert one.sums == (SEEN, 0, REST)

    one.tend_at(gone)
    one.kept.put([cut_row("a")])
    assert one.sums == (spent, 0, 0)


def test_a_row_that_comes_late_is_held_no_longer_than_it_would_have_been(program: Callable[..., Program]) -> None:
    """As from the journal of a machine that was off: its day is counted from the call."""
    one = program(per="total")
    one.kept.put([cut_row("old", NOON - DAY), cut_row("newer", NOON - DAY + 60)])
    assert one.sums == (2 * SEEN, 0, REST)


@pytest.mark.parametrize("when", ["before it is settled", "after it was estimated"])
def test_the_rest_of_a_dead_process_is_held_as_far_as_its_row_tells(
    program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The row that its journal has takes the place of the estimate, and its rest is held."""
    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    dead, other = program(), program()
    dead.kept.ask(Demand("a", {}, 3 * 10**9))
    other.kept.tend()
    dead.kept.die()
    if when == "after it was estimated":
        other.kept.tend()
        other.kept.tend()
        assert other.sums == (Decimal("0.003"), 0, 0)
    other.kept.put([cut_row("a")])
    other.kept.tend()
    other.kept.tend()

    assert other.sums == (SEEN, 0, REST)


@pytest.mark.parametrize(
    "columns",
    [
        {"usage_is_final": 1},
        {"usage": None},
        {"usage": '{"input_tokens":100}', "output_tokens": None, "cost_flags": '["unpriced_component"]'},
        {"max_tokens": None},
        {"max_tokens": 1},
        {"model": "of another maker"},
        {"billing": "subscription"},
        {"pricing_terms": '{"billed_to":"user_profile"}', "cost_flags": '["billed_to_user_profile"]'},
        {"operation": "messages.count_tokens"},
    ],
)
def test_nothing_is_held_where_no_more_can_be_billed_or_nobody_knows(
    program: Callable[..., Program], columns: dict[str, Any]
) -> None:
    """Whole answers, what was written to its end, what others pay, and what has no price."""
    one = program()
    one.kept.put([cut_row("a", **columns)])
    assert one.sums[2] == 0


def test_a_rest_has_the_tier_and_the_terms_of_what_was_seen(program: Callable[..., Program]) -> None:
    """Cached input, a region and a speed cost what they cost in a whole answer of those."""
    usage = '{"input_tokens":100,"cache_read_input_tokens":50,"output_tokens":1,"inference_geo":"us"}'
    one = program()
    one.kept.put([cut_row("a", usage=usage, inference_geo="us")])
    assert one.sums[2] == REST * Decimal("1.1")


def test_no_sum_of_rests_breaks_the_store(program: Callable[..., Program], guard: Guard) -> None:
    """Rests of millions of dollars, as of a request that nobody would answer, are held as far as a store can."""
    one = program(per="rolling:24h", usd=10**9)
    rows = [cut_row(f"{step}/{each}", NOON - step * 1440, max_tokens=9 * 10**11) for step in range(59) for each in "ab"]
    one.kept.put(rows)

    assert one.sums[0] == len(rows) * SEEN
    assert one.sums[2] > 10**6
    assert one.kept.ask(Demand("b", {}, 0)) is not None
    assert dict(guard.failures) == {}


DIES = """
import os, signal, sqlite3, sys
import anthropic, claudetrace
db, url = sys.argv[1:]
budget = claudetrace.Budget("cap", usd=5, per="total", on_exceeded="block", cut_streams="bound")
claudetrace.instrument(db=db, budgets=[budget])
client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
ask = dict(model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}])
with client.messages.create(**ask, stream=True) as stream:
    next(iter(stream))
    # Nobody else can write to the store from here on.
    locked = sqlite3.connect(f"{db}.budgets", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_before_it_could_settle_leaves_its_rest_held(
    server: PlayServer, db: Path, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal has the row of the stream that it left; another process holds what it could not."""
    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    server.add(_answers.stream(_wire.message("word " * 50, _wire.usage(100, 50), model=MODEL), pieces=40, pause_s=0.02))
    killed = subprocess.run([sys.executable, "-c", DIES, str(db), server.url], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    start(budgets=[block(usd=5, cut_streams="bound")])

    until(lambda: state().reserved_calls == 0)
    assert (state().spent_usd, state().held_usd) == (SEEN, REST)


@pytest.mark.parametrize(("cut_streams", "fits"), [("bound", 2), ("seen", 9)])
def test_a_process_that_may_not_open_the_store_holds_its_rests_itself(
    program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch, cut_streams: str, fits: int
) -> None:
    """As a child that was forked while the store was in use: what it saw held, and what it holds, take room."""
    one = program(usd="0.0047", cut_streams=cut_streams)
    one.kept.put([cut_row("before")])
    monkeypatch.setattr("claudetrace._usable._why_not", "it was forked amid a transaction")
    admitted = 0
    with suppress(claudetrace.BudgetExceeded):
        for call in "abcdefghi":
            reservation = one.kept.ask(Demand(call, {}, 12 * 10**8))
            assert reservation is not None
            reservation.cut = (cut_row(call),)
            one.kept.end(reservation, int(SEEN * 10**12))
            admitted += 1

    assert admitted == fits


def test_what_is_neither_seen_nor_bound_is_refused() -> None:
    """The error names the value and the words that there are."""
    with pytest.raises(claudetrace.ClaudetraceError, match=r"cut_streams='all' .* seen, bound"):
        block(cut_streams="all")
