"""The budgets' store: what is reserved, settled, offered, told, and what faults do to it."""

from __future__ import annotations

import os
import pickle
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _keeping import Demand, Kept

from claudetrace._alerts._alert import Alert, alert_from, alert_text
from claudetrace._budgets import _writer
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._reservation import Reservation
from claudetrace._budgets._sqlite import _upkeep
from claudetrace._budgets._writer import Job, nothing
from claudetrace._errors import BudgetExceeded, ClaudetraceError
from claudetrace._ids import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claudetrace._alerts._sender import Outgoing
    from claudetrace._guard import Guard

USD = 10**12
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
BLOCK: dict[str, Any] = {"usd": 10, "per": "day", "on_exceeded": "block"}


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keep(path: Path, guard: Guard, clock: Clock) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make(*budgets: Budget, **given: Any) -> Kept:
        kept = Kept(budgets, path, guard=guard, clock=clock, **given)
        made.append(kept)
        return kept

    yield make
    for kept in made:
        kept.close()


def ask(kept: Kept, call: str, usd: float, **columns: Any) -> Reservation:
    reservation = kept.ask(Demand(call, columns, int(usd * USD)))
    assert reservation is not None
    return reservation


def row(call: str, usd: float | None, at: float = NOON, **columns: Any) -> dict[str, Any]:
    cost = None if usd is None else int(usd * USD)
    started = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    base = {"id": call, "call_id": call, "started_at": started, "operation": "messages.create", "cost_picousd": cost}
    return {**base, "cost_flags": "[]", **columns}


def spent(kept: Kept) -> list[tuple[str | None, float, float, int]]:
    return [
        (state.key, float(state.spent_usd), float(state.reserved_usd), state.spent_calls) for state in kept.status()
    ]


def all_waiting(kept: Kept, channel: str) -> list[Outgoing]:
    """What waits for the channel, the oldest first, claimed."""
    return list(iter(lambda: kept.outbox.claim(channel), None))


def test_a_call_beyond_the_limit_is_stopped_and_says_why(keep: Callable[..., Kept]) -> None:
    """The error has every figure and the time of reset, and can be pickled."""
    kept = keep(Budget("b", **BLOCK))
    kept.end(ask(kept, "a", 4), 3 * USD)
    ask(kept, "b", 5)

    with pytest.raises(BudgetExceeded) as caught:
        ask(kept, "c", 2.5)

    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.budget, error.limit_usd, error.spent_usd, error.reserved_usd, error.needed_usd, error.resets_at) == (
        *("b", 10, 3, 5, Decimal("2.5")),
        datetime(2026, 11, 22, tzinfo=UTC),
    )
    assert spent(kept) == [(None, 3, 5, 1)]


def test_several_budgets_admit_together_or_not_at_all(keep: Callable[..., Kept]) -> None:
    """A call that one of them stops has nothing set aside in any."""
    kept = keep(Budget("wide", **BLOCK), Budget("narrow", **{**BLOCK, "usd": 1}, tags={"customer": "acme"}))
    with pytest.raises(BudgetExceeded, match="narrow"):
        ask(kept, "a", 2, customer="acme")
    ask(kept, "b", 2, customer="other")

    assert spent(kept) == [(None, 0, 2, 0), (None, 0, 0, 0)]


def test_each_value_of_a_tag_has_its_own(keep: Callable[..., Kept]) -> None:
    """One user's limit is not another's, and a call without a user is under none."""
    kept = keep(Budget("b", **BLOCK, tags={"user": "*"}))
    ask(kept, "a", 9, user_id="u1")
    ask(kept, "b", 8, user_id="u2")

    assert kept.ask(Demand("c", {}, 99 * USD)) is None
    assert spent(kept) == [("u1", 0, 9, 0), ("u2", 0, 8, 0)]


def test_settling_again_changes_nothing(keep: Callable[..., Kept]) -> None:
    """A call is charged once, by what was said first."""
    kept = keep(Budget("b", **BLOCK))
    reservation = ask(kept, "a", 4)
    for usd in (3, 2, None):
        kept.end(reservation, None if usd is None else usd * USD)
    kept.put([row("a", 3), row("a", 3)])

    assert spent(kept) == [(None, 3, 0, 1)]


def test_rows_without_a_reservation_are_added_once(keep: Callable[..., Kept]) -> None:
    """However often they are offered; a call of two rows is one call, what is free or was stopped is none."""
    kept = keep(Budget("b", usd=10, per="day"))
    rows = [
        row("a", 1),
        row("a2", 2, call_id="a"),
        row("c", 0, operation="messages.count_tokens"),
        row("d", 0, error_type="BudgetExceeded"),
        row("e", 5, cost_flags='["billed_to_user_profile"]'),
        row("f", None),
        row("g", 4, at=NOON - 86_400),
    ]
    kept.put(rows)
    kept.put(rows)

    assert kept.ask(Demand("z", {}, 99 * USD)) is None
    assert spent(kept) == [(None, 3, 0, 3)]


def test_a_row_that_comes_while_the_call_runs_is_left_to_its_owner(keep: Callable[..., Kept]) -> None:
    """The loader may be faster than the end of a stream."""
    kept = keep(Budget("b", **BLOCK))
    reservation = ask(kept, "a", 4)
    kept.put([row("a", 3)])
    assert spent(kept) == [(None, 0, 4, 0)]
    kept.end(reservation, 3 * USD)

    assert spent(kept) == [(None, 3, 0, 1)]


def test_an_unknown_cost_is_the_estimate_until_a_row_says_more(keep: Callable[..., Kept]) -> None:
    """The truth of the rows takes its place, all rows of the call together."""
    kept = keep(Budget("b", **BLOCK))
    kept.end(ask(kept, "a", 4), None)
    assert spent(kept) == [(None, 4, 0, 1)]
    kept.put([row("a", None)])
    assert spent(kept) == [(None, 4, 0, 1)]
    kept.put([row("a1", 1, call_id="a"), row("a2", 2, call_id="a")])

    assert spent(kept) == [(None, 3, 0, 1)]


@pytest.mark.parametrize(("rows", "usd"), [([], 4), ([row("a", 1), row("a2", 2, call_id="a")], 3)])
def test_what_a_dead_process_had_open_is_settled(
    keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch, rows: list[Any], usd: int
) -> None:
    """By the rows of its journal, else at the estimate; a late word of its own, or of a row, is then the truth."""
    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    dead, kept = keep(Budget("b", **BLOCK)), keep(Budget("b", **BLOCK))
    reservation = ask(dead, "a", 4)
    kept.tend()
    assert spent(kept) == [(None, 0, 4, 0)]
    dead.die()
    kept.put(rows)
    kept.tend()
    kept.tend()
    assert spent(kept) == [(None, usd, 0, 1)]

    if not rows:
        dead.end(reservation, 2 * USD)
        assert spent(dead) == [(None, 2, 0, 1)]
        kept.put([row("a", 2)])
        assert spent(kept) == [(None, 2, 0, 1)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_another_owner(keep: Callable[..., Kept], monkeypatch: pytest.MonkeyPatch) -> None:
    """It reserves by a connection and in a name of its own, and what it leaves open is settled."""
    monkeypatch.setattr(_upkeep, "GRACE_S", 0.0)
    kept = keep(Budget("b", **BLOCK))
    mine = ask(kept, "parent", 1)
    child = os.fork()
    if child == 0:
        try:
            ask(kept, "child", 2)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    kept.tend()
    assert spent(kept) == [(None, 2, 1, 1)]
    kept.end(mine, USD)

    assert spent(kept) == [(None, 3, 0, 2)]


def test_a_call_is_charged_to_the_window_of_its_start(keep: Callable[..., Kept], clock: Clock) -> None:
    """It was admitted there, and the ledger has it under that day; a clock set back finds its day as it was."""
    kept = keep(Budget("b", **BLOCK))
    reservation = ask(kept, "a", 9)
    clock.now += 86_400
    ask(kept, "b", 9)
    kept.end(reservation, 8 * USD)
    assert spent(kept) == [(None, 0, 9, 0)]
    clock.now -= 86_400

    assert spent(kept) == [(None, 8, 0, 1)]
    with pytest.raises(BudgetExceeded):
        ask(kept, "c", 3)


@pytest.mark.parametrize(
    ("per", "zone", "first", "last", "following"),
    [
        ("hour", "UTC", "2026-11-21T12:00:00Z", "2026-11-21T12:59:59Z", "2026-11-21T13:00:00Z"),
        ("day", "UTC", "2026-11-21T00:00:00Z", "2026-11-21T23:59:59Z", "2026-11-22T00:00:00Z"),
        ("day", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z"),
        ("day", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"),
        ("week", "UTC", "2026-11-16T00:00:00Z", "2026-11-22T23:59:59Z", "2026-11-23T00:00:00Z"),
        ("month", "America/New_York", "2026-11-01T04:00:00Z", "2026-12-01T04:59:59Z", "2026-12-01T05:00:00Z"),
    ],
)
def test_a_full_window_has_room_again_with_the_next(
    per: str, zone: str, first: str, last: str, following: str, keep: Callable[..., Kept], clock: Clock
) -> None:
    """To the second, with daylight saving in between; what began at its first moment counts until its last."""
    kept = keep(Budget("b", **{**BLOCK, "per": per}, timezone=zone))
    begins, ends, then = (datetime.fromisoformat(moment) for moment in (first, last, following))
    clock.now = begins.timestamp()
    reservation = ask(kept, "a", 9)
    clock.now = ends.timestamp()
    kept.end(reservation, 9 * USD)
    with pytest.raises(BudgetExceeded) as caught:
        ask(kept, "b", 3)
    assert caught.value.resets_at == then
    clock.now = then.timestamp()
    ask(kept, "c", 3)

    assert spent(kept) == [(None, 0, 3, 0)]
    clock.now = ends.timestamp()
    assert spent(kept) == [(None, 9, 0, 1)]


def test_a_rolling_window_forgets_no_sooner_than_it_may(keep: Callable[..., Kept], clock: Clock) -> None:
    """What was spent counts for the whole length, and for a 60th of it more at most."""
    kept = keep(Budget("b", **{**BLOCK, "per": "rolling:1h"}))
    kept.end(ask(kept, "a", 8), 8 * USD)
    clock.now += 3599
    with pytest.raises(BudgetExceeded) as caught:
        ask(kept, "b", 3)
    assert caught.value.resets_at == datetime.fromtimestamp(NOON + 3660, UTC)
    clock.now = NOON + 3661
    ask(kept, "c", 3)

    assert spent(kept) == [(None, 0, 3, 0)]


def test_another_limit_keeps_what_was_spent_and_another_window_begins_anew(keep: Callable[..., Kept]) -> None:
    """A removed budget keeps its history too, and has it when it is back."""
    first = keep(Budget("b", **BLOCK))
    first.end(ask(first, "a", 5), 5 * USD)
    first.close()
    assert spent(keep(Budget("other", **BLOCK))) == [(None, 0, 0, 0)]
    lower = keep(Budget("b", **{**BLOCK, "usd": 6}))
    with pytest.raises(BudgetExceeded):
        ask(lower, "b", 2)

    assert spent(lower) == [(None, 5, 0, 1)]
    assert spent(keep(Budget("b", **{**BLOCK, "per": "hour"}))) == [(None, 0, 0, 0)]


@pytest.mark.parametrize(("per", "asked"), [("day", 1), ("rolling:1h", 61)])
def test_a_new_store_begins_with_what_the_ledger_says(keep: Callable[..., Kept], per: str, asked: int) -> None:
    """Of the window of now, once; a rolling one step by step."""
    windows: list[Any] = []

    def before(budget: Budget, window: Any) -> dict[str, tuple[int, int]]:
        windows.append(window)
        return {"u1": (2 * USD, 3)} if window.start <= NOON < window.end else {}

    budget = Budget("b", **{**BLOCK, "per": per}, tags={"user": "*"})
    assert spent(keep(budget, spent_before=before)) == [("u1", 2, 0, 3)]
    assert spent(keep(budget, spent_before=before)) == [("u1", 2, 0, 3)]
    assert len(windows) == asked


def test_money_beyond_64_bits_of_picodollars_is_exact(keep: Callable[..., Kept]) -> None:
    """A budget of a billion dollars holds to the picodollar."""
    kept = keep(Budget("b", **{**BLOCK, "usd": 10**9}))
    for number in range(499):
        kept.put([row(f"r{number}", 2 * 10**6)])
    kept.end(ask(kept, "a", 10**6), 10**6 * USD - 1)
    ask(kept, "b", 10**6)
    kept.ask(Demand("c", {}, 1))

    with pytest.raises(BudgetExceeded):
        kept.ask(Demand("d", {}, 1))
    assert kept.status()[0].spent_usd == Decimal("998999999.999999999999")


def test_calls_are_limited_beside_dollars(keep: Callable[..., Kept]) -> None:
    """`max_calls` counts calls that run and calls that have ended, and not those that never left."""
    kept = keep(Budget("b", max_calls=2, per="day", on_exceeded="block"))
    kept.end(ask(kept, "a", 0), 0)
    never_left = ask(kept, "b", 0)
    with pytest.raises(BudgetExceeded, match="1 of its 2 calls are running") as caught:
        ask(kept, "c", 0)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    kept.end(never_left, 0, calls=0)
    ask(kept, "d", 0)


@pytest.mark.parametrize(
    ("said", "demand"),
    [({"unpriced": "block"}, Demand("a", {}, None)), ({"unbounded": "block"}, Demand("a", {}, 1, bounded=False))],
)
def test_what_cannot_be_known_is_stopped_where_the_budget_says_so(
    keep: Callable[..., Kept], said: dict[str, Any], demand: Demand
) -> None:
    """By default it passes, and reserves what is guessed."""
    assert keep(Budget("open", **BLOCK)).ask(demand) is not None
    with pytest.raises(BudgetExceeded, match="cannot be known"):
        keep(Budget("strict", **BLOCK, **said)).ask(demand)


def test_a_batch_is_held_until_its_results_are_read(keep: Callable[..., Kept], clock: Clock) -> None:
    """Each result takes its share, in whatever process; what is not read is charged once the API has it no more."""
    total = {**BLOCK, "per": "total"}
    maker, reader = keep(Budget("b", **total)), keep(Budget("b", **total))
    make = uuid7(int(clock.now * 1e9))
    reservation = maker.ask(Demand(make, {}, 6 * USD, calls=3))
    assert reservation is not None
    reservation.batch_id = "batch"
    maker.end(reservation, 0)
    maker.put([row(make, 0, operation="messages.batches.create", batch_id="batch")])
    assert spent(maker) == [(None, 0, 6, 0)]
    results = [
        row(f"r{n}", 1, call_id="read", operation="messages.batches.result", batch_id="batch", custom_id=str(n))
        for n in range(2)
    ]
    reader.put(results)
    reader.put([{**result, "id": "again"} for result in results])
    assert spent(reader) == [(None, 2, 2, 2)]
    clock.now += 30 * 86_400
    reader.keep_house()

    assert spent(reader) == [(None, 4, 0, 3)]


def test_each_threshold_is_told_once_in_its_window(keep: Callable[..., Kept], clock: Clock) -> None:
    """By whichever process passes it; the alert is in the store as soon as the spend is."""
    budget = Budget("b", usd=10, per="day")
    handed_on: list[Any] = []
    one, other = keep(budget), keep(budget)
    other.sender.send = lambda alert, stored_as: handed_on.append((alert, stored_as))  # type: ignore[method-assign, assignment]
    one.outbox.open_channel("log")
    one.put([row("a", 6)])
    other.put([row("b", 3), row("c", 0.5)])
    one.put([row("d", 2)])
    clock.now += 86_400
    one.put([row("e", 5, at=clock.now)])

    waiting = all_waiting(other, "log")
    told = [each.alert for each in waiting]
    assert [(alert.threshold, float(alert.spent_usd or 0)) for alert in told] == [
        (0.5, 6),
        (0.8, 9),
        (1, 11.5),
        (0.5, 5),
    ]
    (second,) = (each for each in waiting if each.alert.threshold == 0.8)
    assert handed_on == [(second.alert, second.id)]
    assert all(alert_from(alert_text(alert)) == alert for alert in told)
    assert told[0].window_end == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("per", ["day", "total", "rolling:24h"])
@pytest.mark.parametrize(
    ("limit", "raised"),
    [({"usd": 10}, {"usd": 20}), ({"max_calls": 10}, {"max_calls": 20}), ({"usd": 10}, {"max_calls": 20})],
)
def test_a_raised_limit_is_told_of_again(
    keep: Callable[..., Kept], per: str, limit: dict[str, Any], raised: dict[str, Any]
) -> None:
    """Each threshold is told once for each limit of a window: to raise it is what the alert advises."""
    said: dict[str, Any] = {"per": per, "thresholds": (0.5, 1.0)}
    kept = keep(Budget("b", **limit, **said))
    kept.outbox.open_channel("log")
    for number in range(12):
        kept.put([row(f"a{number}", 1)])
    kept.close()
    for once in (True, False):
        higher = keep(Budget("b", **raised, **said))
        for number in range(4):
            higher.put([row(f"b{once}{number}", 1)])
        higher.close()

    told = [each.alert for each in all_waiting(keep(Budget("b", **raised, **said)), "log")]
    limits = [(alert.threshold, alert.limit_usd, alert.message.split(" of ")[-1][:2]) for alert in told]
    assert [each[:2] for each in limits] == [
        (0.5, limit.get("usd")),
        (1, limit.get("usd")),
        (0.5, raised.get("usd")),
        (1, raised.get("usd")),
    ]


def test_a_mixed_failure_ends_each_job_once(keep: Callable[..., Kept]) -> None:
    """Where one job of a transaction fails, the others are done, and each is answered a single time."""

    def fail(_: Any) -> None:
        raise ValueError("of this job")

    kept, answered = keep(Budget("b", **BLOCK)), list[tuple[str, bool]]()
    assert kept.writer is not None
    jobs = [
        Job(act, then=lambda job, name=name: answered.append((name, job.error is None)))
        for name, act in (("a", nothing), ("b", fail), ("c", nothing))
    ]
    for job in jobs:
        kept.writer.post(job)
    kept.writer.do(nothing)

    assert answered == [("a", True), ("b", False), ("c", True)]


def test_an_alert_waits_in_the_store_until_its_channel_has_it(keep: Callable[..., Kept], clock: Clock) -> None:
    """A claim is one process's until its lease ends; a failure puts it off; a delivery is for good."""
    kept = keep(Budget("b", usd=10, per="day"))
    kept.outbox.open_channel("hook")
    kept.put([row("a", 6)])
    first = kept.outbox.claim("hook", lease_s=30, max_age_s=3600)
    assert first is not None
    assert kept.outbox.claim("hook", lease_s=30, max_age_s=3600) is None
    kept.outbox.mark_failed(first.id, "hook", wait_s=5, reason="503")
    clock.now += 6
    second = kept.outbox.claim("hook", lease_s=30, max_age_s=3600)
    assert second is not None
    kept.outbox.mark_delivered(second.id, "hook")
    clock.now += 60

    assert (second.id, second.tries) == (first.id, 1)
    assert kept.outbox.claim("hook", lease_s=30, max_age_s=3600) is None
    assert kept.outbox.raise_alert(first.alert, mark="m") is not None
    assert kept.outbox.raise_alert(first.alert, mark="m") is None


def test_a_deleted_store_begins_anew_from_the_ledger(keep: Callable[..., Kept], path: Path, guard: Guard) -> None:
    """Also while it is open: SQLite would go on in the deleted file without a word."""
    kept = keep(Budget("b", **BLOCK), spent_before=lambda budget, window: {"": (7 * USD, 7)})
    kept.end(ask(kept, "a", 1), USD)
    assert spent(kept) == [(None, 8, 0, 8)]
    for name in ("", "-wal", "-shm"):
        Path(f"{path}{name}").unlink()

    assert spent(kept) == [(None, 7, 0, 7)]
    with pytest.raises(BudgetExceeded):
        ask(kept, "b", 4)


def test_a_corrupt_store_is_set_aside_and_told(keep: Callable[..., Kept], path: Path, guard: Guard) -> None:
    """A new one begins from the ledger, in the same call."""
    kept = keep(Budget("b", **BLOCK), spent_before=lambda budget, window: {"": (7 * USD, 7)})
    kept.end(ask(kept, "a", 1), USD)
    kept.status()
    kept.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(os.urandom(size - 1024))

    with pytest.raises(BudgetExceeded):
        ask(kept, "b", 4)
    assert spent(kept) == [(None, 7, 0, 7)]
    assert len(list(path.parent.glob("*.broken-*"))) == 1
    assert "a new one begun" in str(guard.last_error)


@pytest.mark.parametrize("content", [b"not a store at all, but quite long" * 100, None])
def test_a_file_of_something_else_is_refused_and_left_alone(
    keep: Callable[..., Kept], path: Path, content: bytes | None
) -> None:
    """At set-up, with the way out."""
    if content is None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE mine (v)")
        content = path.read_bytes()
    else:
        path.write_bytes(content)

    with pytest.raises(ClaudetraceError, match="budget_store"):
        keep(Budget("b", **BLOCK)).open()
    assert path.read_bytes() == content
    path.unlink()


@pytest.mark.parametrize("policy", ["open", "closed"])
def test_a_store_that_stays_locked_lets_pass_or_stops_as_the_budget_says(
    keep: Callable[..., Kept], path: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """It is told once; what was spent meanwhile is counted when the store is back."""
    monkeypatch.setattr(_writer, "PATIENCE_S", 0.05)
    kept = keep(Budget("b", **BLOCK, on_store_error=policy))
    running = ask(kept, "a", 4)
    kept.status()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in "bc":
            if policy == "open":
                assert kept.ask(Demand(call, {}, USD)) is not None
            else:
                with pytest.raises(BudgetExceeded, match="on_store_error") as caught:
                    kept.ask(Demand(call, {}, USD))
                assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        kept.end(running, 3 * USD)
        kept.put([row("b", 2)])
        other.execute("ROLLBACK")
    kept.tend()

    assert [count for reason, count in guard.failures.items() if "reserve" in reason] == [2]
    assert spent(kept) == [(None, 5, 0, 2)]


def test_a_disk_that_is_full_lets_the_call_pass(keep: Callable[..., Kept], guard: Guard) -> None:
    """And what is settled then is kept until there is room."""
    kept = keep(Budget("b", **BLOCK))
    running = ask(kept, "a", 4)
    connection = kept._store._file.connection()  # type: ignore[union-attr]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    passed = [kept.ask(Demand(f"{n}" * 900, {}, 1)) for n in range(20)]
    assert None not in passed
    kept.end(running, 3 * USD)
    connection.execute("PRAGMA max_page_count = 1000000")
    kept.tend()

    assert "full" in str(guard.last_error)
    assert kept.status()[0].spent_usd == 3


def test_nothing_is_made_before_it_is_needed(keep: Callable[..., Kept], path: Path) -> None:
    """A budget that no call is under makes no file."""
    kept = keep(Budget("b", **BLOCK, tags={"customer": "acme"}))
    assert kept.ask(Demand("a", {}, USD)) is None
    kept.tend()
    kept.close()
    assert list(path.parent.iterdir()) == []


def test_what_is_no_longer_needed_is_forgotten(
    keep: Callable[..., Kept], clock: Clock, query: Callable[..., list[Any]]
) -> None:
    """Settled calls and counted rows after weeks, windows that are over after a year; all-time spend never."""
    kept = keep(Budget("day", **BLOCK), Budget("total", usd=100, per="total"), Budget("roll", usd=9, per="rolling:1h"))
    call = uuid7(int(NOON * 1e9))
    kept.end(ask(kept, call, 4), 3 * USD)
    kept.put([row(call, 3), row("b", 1)])
    for days, left in ((2, (1, 5, 2)), (40, (0, 0, 2)), (500, (0, 0, 1))):
        clock.now = NOON + days * 86_400
        kept.keep_house()
        found = ("charges WHERE item = ''", "charges WHERE item <> ''", "counters")
        assert tuple(query(f"SELECT COUNT(*) FROM {each}")[0][0] for each in found) == left

    assert [float(state.spent_usd) for state in kept.status()] == [0, 4, 0]


def test_a_channel_that_nobody_has_any_more_is_forgotten(
    keep: Callable[..., Kept], clock: Clock, query: Callable[..., list[Any]]
) -> None:
    """After a week without a program that has it; one that a running program has stays, however long."""
    gone, kept = keep(Budget("b", **BLOCK)), keep(Budget("b", **BLOCK))
    gone.outbox.open_channel("old hook")
    kept.outbox.open_channel("hook")
    gone.close()
    for days, left in ((3, ["hook", "old hook"]), (6, ["hook", "old hook"]), (12, ["hook"]), (30, ["hook"])):
        clock.now = NOON + days * 86_400
        kept.keep_house()
        assert query("SELECT channel, since FROM channels ORDER BY channel") == [(name, NOON * 1000) for name in left]


def test_a_store_made_anew_knows_the_channels_at_once(keep: Callable[..., Kept], path: Path, clock: Clock) -> None:
    """What is raised after the file was deleted waits for the channels of the programs that run."""
    kept = keep(Budget("b", **BLOCK))
    kept.outbox.open_channel("hook")
    path.unlink()
    kept.outbox.raise_alert(
        Alert(kind="spike", budget="b", at=datetime.fromtimestamp(NOON, UTC), message="."), mark="m"
    )

    assert [each.alert.kind for each in all_waiting(kept, "hook")] == ["spike"]


def test_rows_that_waited_are_not_added_to_a_store_begun_from_their_ledger(
    keep: Callable[..., Kept], path: Path
) -> None:
    """Those of an offer that failed are in the ledger by the next; those offered now are not yet."""
    kept = keep(Budget("b", **BLOCK), spent_before=lambda budget, window: {"": (7 * USD, 7)})
    path.mkdir()
    kept.put([row("a", 1)])
    path.rmdir()
    kept.writer.retry()  # type: ignore[union-attr]
    kept.put([row("b", 2)])

    assert spent(kept) == [(None, 9, 0, 8)]
