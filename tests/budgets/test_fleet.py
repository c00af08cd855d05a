"""How budgets that many hosts share go wrong elsewhere, and what they do here, on a PostgreSQL server."""

from __future__ import annotations

import pickle
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from _asking import MODEL
from _keeping import Demand
from _postgres import PASSWORD
from _serving import Served, at_once, end_all
from test_store import BLOCK, USD, ask, row, spent

import claudetrace
from claudetrace._budgets import _commands
from claudetrace._budgets._budget import Budget
from claudetrace._budgets._postgres import _schema, _store
from claudetrace._budgets._postgres._url import ServerUrl
from claudetrace._errors import BudgetExceeded, ClaudetraceError
from claudetrace._pricing._terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _postgres import Server

    from claudetrace._guard import Guard

TOTAL: dict[str, Any] = {"usd": 10, "per": "total", "on_exceeded": "block", "thresholds": (), "forecast": False}


@pytest.fixture
def host(database: str, guard: Guard) -> Iterator[Callable[..., Served]]:
    """A process on a host of its own, by its clock, with these budgets."""
    made: list[Served] = []

    def make(*budgets: Budget, clock: Callable[[], float] = time.time, url: str = database, **given: Any) -> Served:
        made.append(Served(budgets, url, guard=guard, clock=clock, **given))
        return made[-1]

    yield make
    end_all(made)


@pytest.fixture
def query(database: str) -> Iterator[Callable[..., list[Any]]]:
    with psycopg.connect(database, autocommit=True) as connection:

        def ask_of(sql: str, *values: Any) -> list[Any]:
            done = connection.execute(sql, values or None)
            return done.fetchall() if done.description else []

        yield ask_of


def test_n_pods_share_one_limit(host: Callable[..., Served]) -> None:
    """Three hosts that ask at the same time have what one would have, and no call more."""
    pods = [host(Budget("b", **TOTAL)) for _ in range(3)]
    outcomes: list[str] = []

    def call_on(pod: Served, name: str) -> None:
        for number in range(20):
            try:
                pod.end(ask(pod, f"{name}-{number}", 0.5), USD // 2)
                outcomes.append("admitted")
            except BudgetExceeded:
                outcomes.append("stopped")

    callers = [threading.Thread(target=call_on, args=(pod, f"{i}-{j}")) for i, pod in enumerate(pods) for j in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert Counter(outcomes) == {"admitted": 20, "stopped": 220}
    assert spent(pods[0]) == [(None, 10, 0, 20)]


def test_a_reservation_larger_than_the_room_is_refused_and_not_shrunk(host: Callable[..., Served]) -> None:
    """Also by a picodollar."""
    pod = host(Budget("b", **TOTAL))
    ask(pod, "a", 6)
    with pytest.raises(BudgetExceeded):
        pod.ask(Demand("b", {}, 4 * USD + 1))
    assert pod.ask(Demand("c", {}, 4 * USD)) is not None

    assert spent(pod) == [(None, 0, 10, 0)]


def test_a_limit_that_changes_amid_traffic_holds_at_once(host: Callable[..., Served]) -> None:
    """Lowered below what is spent nothing more is let through; raised there is room again, and nothing is forgotten."""
    pod = host(Budget("b", **TOTAL))
    pod.end(ask(pod, "a", 6), 6 * USD)
    running = ask(pod, "r", 2)
    low, high = host(Budget("b", **{**TOTAL, "usd": 5})), host(Budget("b", **{**TOTAL, "usd": 20}))
    with pytest.raises(BudgetExceeded):
        ask(low, "b", 0.1)
    ask(high, "c", 10)
    pod.end(running, USD)
    assert pod.flush(5)

    assert spent(high) == [(None, 7, 10, 2)]


def test_limits_that_an_administrator_sets_hold_for_all_programs(host: Callable[..., Served], database: str) -> None:
    """Whatever they say themselves, from the moment on in which they are set; lifted, the programs' own hold again."""
    pod, url = host(Budget("b", **{**TOTAL, "usd": 1000})), ServerUrl(database)
    ask(pod, "a", 100)
    assert _schema.apply(url, [Budget("b", **{**TOTAL, "usd": 50})]) == (["b"], [])
    with pytest.raises(BudgetExceeded):
        ask(pod, "b", 1)
    assert _schema.apply(url, []) == ([], ["b"])

    ask(pod, "c", 1)


def test_programs_take_budgets_that_an_administrator_sets(host: Callable[..., Served], database: str) -> None:
    """With what is set at their start, and what is set or lifted later; a call that runs is charged as it was."""
    url = ServerUrl(database)
    _schema.apply(url, [Budget("b", **TOTAL)])
    pod = host(of_store=True)
    pod.open()
    running = ask(pod, "a", 6)
    with pytest.raises(BudgetExceeded):
        ask(pod, "b", 5)
    _schema.apply(url, [Budget("b", **{**TOTAL, "usd": 20}), Budget("c", **{**TOTAL, "usd": 8})])
    pod._again_at = 0.0
    pod.tend()
    ask(pod, "c", 5)
    with pytest.raises(BudgetExceeded, match="'c'"):
        ask(pod, "d", 4)
    pod.end(running, USD)
    assert spent(pod) == [(None, 1, 5, 1), (None, 0, 5, 0)]
    _schema.apply(url, [])
    pod._again_at = 0.0
    pod.tend()

    assert pod.ask(Demand("e", {}, 99 * USD)) is None


def test_budgets_of_the_store_need_a_database() -> None:
    """A file has none that an administrator has set."""
    with pytest.raises(ClaudetraceError, match="postgresql"):
        claudetrace.instrument(budgets="store")


def test_n_hosts_that_reconnect_at_once_change_no_sum(host: Callable[..., Served]) -> None:
    """No host seeds the counters, and what each sends again counts once."""
    pods = [host(Budget("b", **TOTAL)) for _ in range(4)]
    open_calls = []
    for number, pod in enumerate(pods):
        pod.end(ask(pod, f"ended-{number}", 1), USD)
        open_calls.append(ask(pod, f"open-{number}", 1))
    before = spent(pods[0])
    for pod in pods:
        # As after a crash of the server.
        pod.store._life = "another"
    threads = [threading.Thread(target=pod.status) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert before == spent(pods[0]) == [(None, 4, 4, 4)]


def test_rows_offered_again_to_an_older_copy_are_counted_once(
    host: Callable[..., Served], query: Callable[..., list[Any]]
) -> None:
    """Those that the copy knows change nothing, those that it lost are charged, a call that it has open is settled by
    its row."""
    pod = host(Budget("b", **TOTAL))
    for name in ("old", "lost", "open"):
        reservation = ask(pod, name, 2)
        if name != "open":
            pod.end(reservation, USD)
    pod.put([row("unreserved", 1)])
    assert spent(pod) == [(None, 3, 2, 3)]
    query("UPDATE claudetrace.counters SET spent = spent - 1000000000000, spent_calls = spent_calls - 1")
    query("DELETE FROM claudetrace.charges WHERE call_id = 'lost'")
    rows = [row(name, 1) for name in ("old", "lost", "open", "unreserved")]
    another = host()
    for _ in range(2):
        another.put(rows)

    assert spent(pod) == [(None, 3, 2, 3)]


def test_reservations_of_killed_processes_end_with_their_lease(
    host: Callable[..., Served], query: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are charged at their estimates by whichever host is left, and none is freed in silence."""
    at_once(monkeypatch)
    dead, alive = host(Budget("b", **TOTAL)), host(Budget("b", **TOTAL))
    for number in range(3):
        ask(dead, f"c{number}", 1)
    dead.die()
    alive.tend()

    assert spent(alive) == [(None, 3, 0, 3)]
    assert query("SELECT count(*) FROM claudetrace.charges WHERE basis = 0") == [(0,)]


def test_nothing_expires_but_what_is_open_of_those_who_are_gone(
    host: Callable[..., Served], query: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that runs for hours in a process that lives stays reserved, and what is spent stays spent."""
    at_once(monkeypatch)
    pod = host(Budget("b", **TOTAL))
    pod.end(ask(pod, "ended", 3), 3 * USD)
    reservation = ask(pod, "long", 4)
    for _ in range(3):
        query("UPDATE claudetrace.owners SET until = until - 50")
        pod.tend()

    assert spent(pod) == [(None, 3, 4, 1)]
    pod.end(reservation, USD)
    assert spent(pod) == [(None, 4, 0, 2)]


def test_a_host_that_was_taken_for_dead_has_the_last_word(
    host: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a pause longer than its lease: what it says replaces the estimate."""
    at_once(monkeypatch)
    slept, other = host(Budget("b", **TOTAL)), host(Budget("b", **TOTAL))
    reservation = ask(slept, "a", 4)
    slept.die()
    other.tend()
    assert spent(other) == [(None, 4, 0, 1)]
    slept.end(reservation, USD)

    assert spent(slept) == [(None, 1, 0, 1)]


FAULTS = {
    "full": ("53100", "disk_full"),
    "read-only": ("25006", "read_only_sql_transaction"),
    "refused": ("42501", "insufficient_privilege"),
    "locked": ("55P03", "lock_not_available"),
    "another version": ("42883", "undefined_function"),
}
RAISE = """
    CREATE FUNCTION claudetrace.fault() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{state}'; END $$;
    CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON claudetrace.charges EXECUTE FUNCTION claudetrace.fault()
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_error_of_the_server_follows_the_policy(
    host: Callable[..., Served], query: Callable[..., list[Any]], fault: str
) -> None:
    """Open lets a call through within what is known, and counts it later; closed stops it, and the error says why."""
    opened = host(Budget("b", **TOTAL))
    closed = host(Budget("b", **TOTAL, on_store_error="closed"))
    ask(opened, "before", 9)
    query(RAISE.format(state=FAULTS[fault][0]))
    try:
        passed = ask(opened, "open", 0.5)
        with pytest.raises(BudgetExceeded):
            ask(opened, "too much", 0.6)
        with pytest.raises(BudgetExceeded, match="as if") as stopped:
            ask(closed, "closed", 0.5)
    finally:
        query("DROP FUNCTION claudetrace.fault() CASCADE")
    assert "pw-" not in str(stopped.value)
    assert str(pickle.loads(pickle.dumps(stopped.value))) == str(stopped.value)
    opened.end(passed, USD // 4)
    opened.tend()
    closed.tend()

    assert spent(opened) == [(None, 0.25, 9, 1)]


def test_a_lock_that_is_held_for_seconds_is_a_fault_after_one(host: Callable[..., Served], database: str) -> None:
    """The caller goes on by its policy; what it did is in the sums when the lock is gone."""
    pod = host(Budget("b", **TOTAL))
    pod.end(ask(pod, "a", 1), USD)
    assert spent(pod) == [(None, 1, 0, 1)]
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM claudetrace.counters FOR UPDATE")
        reservation = ask(pod, "b", 1)
    pod.end(reservation, 2 * USD)
    pod.tend()

    assert spent(pod) == [(None, 3, 0, 2)]


def test_windows_are_those_of_the_servers_clock(host: Callable[..., Served]) -> None:
    """A host whose clock is off by a day reserves and counts in the same window as the others."""
    right, fast = host(Budget("b", **BLOCK)), host(Budget("b", **BLOCK), clock=lambda: time.time() + 86_400)
    ask(right, "a", 6)
    with pytest.raises(BudgetExceeded) as stopped:
        ask(fast, "b", 6)
    ask(fast, "c", 4)

    assert stopped.value.resets_at is not None
    assert stopped.value.resets_at.timestamp() - time.time() <= 86_400
    assert spent(right) == [(None, 0, 10, 0)]


def test_a_window_that_closes_meanwhile_is_asked_for_again(host: Callable[..., Served]) -> None:
    """Where only the server knows that the next one has begun."""
    pod = host(Budget("b", **BLOCK))
    ask(pod, "a", 9)
    pod.store._skew_s = -86_400
    with pytest.raises(BudgetExceeded):
        ask(pod, "b", 2)

    assert abs(pod.store._skew_s) < 60


def test_a_call_without_a_bound_of_its_own_is_bound_by_its_model(host: Callable[..., Served]) -> None:
    """It cannot pin more than its model can answer, and the error says what to lower."""
    pod = host(Budget("b", **{**TOTAL, "usd": "0.5"}))
    columns = {"operation": "messages.create", "started_at": "2026-11-29T00:00:00.000Z", "model_requested": MODEL}
    body = {"messages": [{"role": "user", "content": "hi"}], "model": MODEL}
    owned = pod.reservation("a", columns, body, Terms(platform="anthropic"), has_middleware=False)
    reservation = owned.reservation
    assert reservation.bound.why_unbounded is None
    with pytest.raises(BudgetExceeded, match="lower max_tokens"):
        pod.admit(reservation)


def test_two_programs_that_limit_one_budget_differently_each_hold_to_their_own(host: Callable[..., Served]) -> None:
    """They share what is spent."""
    strict, lax = host(Budget("b", **TOTAL)), host(Budget("b", **{**TOTAL, "usd": 20}))
    lax.end(ask(lax, "a", 12), 12 * USD)
    with pytest.raises(BudgetExceeded):
        ask(strict, "b", 1)
    ask(lax, "c", 8)

    assert spent(strict) == [(None, 12, 8, 1)]


def test_what_was_set_aside_without_an_answer_is_undone(host: Callable[..., Served]) -> None:
    """A call that was refused since the answer got lost pins nothing, though the server has reserved for it."""
    pod = host(Budget("b", **TOTAL, on_store_error="closed"))
    assert spent(pod) == [(None, 0, 0, 0)]
    link, call = pod.store.link, pod.store.link.call

    def lose(*asked: Any) -> Any:
        call(*asked)
        link.drop()
        link.call = call  # type: ignore[method-assign]
        raise link.url.fault("it does not answer in time", answered=False)

    link.call = lose  # type: ignore[method-assign]
    with pytest.raises(BudgetExceeded, match="in time"):
        ask(pod, "a", 4)
    pod.tend()

    assert spent(pod) == [(None, 0, 0, 0)]


def test_200_processes_have_a_connection_each(host: Callable[..., Served], postgres: Server) -> None:
    """And no more, whatever they ask."""
    pods = [host(Budget("b", **{**TOTAL, "max_calls": 1000})) for _ in range(200)]
    for number, pod in enumerate(pods):
        pod.end(ask(pod, f"c{number}", 0.01), USD // 100)
    found = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'claudetrace'")

    assert spent(pods[0]) == [(None, 2, 0, 200)]
    assert found[0][0] >= 200


def test_programs_need_no_more_than_the_two_functions(
    host: Callable[..., Served], postgres: Server, query: Callable[..., list[Any]]
) -> None:
    """With what `init` prints a role can do all that a program does, and read or change no table."""
    query("DROP ROLE IF EXISTS app")
    query(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
    url = postgres.url("claudetrace", "app")
    pod = host(Budget("b", **TOTAL), url=url)
    with pytest.raises(ClaudetraceError, match=r"GRANT"):
        pod.open()
    for grant in _schema.init(ServerUrl(postgres.url("claudetrace"))):
        query(grant.replace("your_role", "app"))
    again = host(Budget("b", **TOTAL), url=url)
    again.end(ask(again, "a", 1), USD)
    again.tend()

    assert spent(again) == [(None, 1, 0, 1)]
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("UPDATE claudetrace.counters SET spent = 0")
    query("REVOKE ALL ON SCHEMA claudetrace FROM app")
    query("DROP OWNED BY app")


def test_what_is_settled_is_kept_for_a_minute_and_no_longer(
    host: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that memory does not grow with calls."""
    pod = host(Budget("b", **{**TOTAL, "usd": 1000}))
    for number in range(20):
        pod.end(ask(pod, f"c{number}", 1), USD)
    assert pod.flush(10)
    assert len(pod.store._ended) == 20
    monkeypatch.setattr(_store, "AGAIN_S", 0.0)
    pod.end(ask(pod, "last", 1), USD)
    assert pod.flush(10)

    assert len(pod.store._ended) <= 1
    assert pod.store.open == {}


def test_the_password_is_nowhere(host: Callable[..., Served], database: str, caplog: Any, guard: Guard) -> None:
    """Not in errors, logs, representations or the settings' own words."""
    secret = database.partition("@")[0].rpartition(":")[2]
    for url in (database.replace("/claudetrace", "/nowhere"), f"postgresql://u:{secret}@127.0.0.1:1/x"):
        pod = host(Budget("b", **TOTAL), url=url)
        pod.start()
        ask(pod, "a", 1)
    told = [*(record.getMessage() for record in caplog.records), str(guard.failures)]
    told += [repr(vars(pod.store)), repr(vars(pod.writer))]
    with pytest.raises(ClaudetraceError) as refused:
        claudetrace.instrument(budget_store=f"postgresql://u:{secret}@x@h/db", budgets=[Budget("b", usd=1)])
    told += [str(refused.value), repr(ServerUrl(database)), str(ServerUrl(database))]

    assert told[0]
    assert not [text for text in told if secret in text]


def test_who_is_forgotten_is_named_nowhere_and_what_they_spent_stays(
    host: Callable[..., Served], database: str, query: Callable[..., list[Any]]
) -> None:
    """Also a call of theirs that runs is charged under the name that tells nothing."""
    pod = host(Budget("b", **{**TOTAL, "thresholds": (0.5,)}, tags={"user": "*"}))
    pod.outbox.open_channel("log")
    pod.end(ask(pod, "a", 6, user_id="ada"), 6 * USD)
    running = ask(pod, "b", 1, user_id="ada")
    pod.end(ask(pod, "c", 1, user_id="bob"), USD)
    assert [each[0] for each in spent(pod)] == ["ada", "bob"]
    entries, defined = _commands.forget(ServerUrl(database), "ada", set(), {})
    pod.end(running, USD)

    assert (entries >= 4, defined) == (True, [])
    ((neutral, *sums), *others) = spent(pod)
    assert (str(neutral).startswith("(forgotten "), sums, others) == (True, [7, 0, 2], [("bob", 1, 0, 1)])
    tables = query("SELECT tablename FROM pg_tables WHERE schemaname = 'claudetrace'")
    kept = [str(query(f"SELECT * FROM claudetrace.{name}")) for (name,) in tables]
    assert not [text for text in kept if "ada" in text]
