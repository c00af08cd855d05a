"""What the ledger's rows say was spent: added once, unless a reservation of their call has accounted for it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from claudetrace._budgets import _sql
from claudetrace._budgets._held import hold, hold_again, rest_of
from claudetrace._budgets._match import matching
from claudetrace._budgets._store import ESTIMATED, ROWS, SAID, charge, tell
from claudetrace._budgets._windows import window_of
from claudetrace._call import spend_of, tells_tokens
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._held import Rest
    from claudetrace._budgets._store import Ledgers, Terms

COUNTED = "INSERT INTO counted (row_key, budget_id, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
ADD_SEEN = """
    UPDATE open
    SET seen_rows = seen_rows + (?1 IS NOT NULL), seen_picousd = seen_picousd + COALESCE(?1, 0)
    WHERE call_id = ?2 AND budget_id = ?3
"""
CORRECT = "UPDATE settled SET picousd = ?, calls = ?, basis = ?, offered = 1 WHERE call_id = ? AND budget_id = ?"
SEEN_MORE = """
    UPDATE open
    SET seen_picousd = seen_picousd + ?
    WHERE call_id = ? AND budget_id = ? AND seen_rows > 0
"""
SETTLED_MORE = "UPDATE settled SET picousd = picousd + ? WHERE call_id = ? AND budget_id = ?"
SHRINK = """
    UPDATE open
    SET picousd = picousd - ?, calls = calls - ?
    WHERE call_id = ? AND budget_id = ?
"""
HOLD = "UPDATE open SET batch_id = ?1, owner = '' WHERE call_id = ?2 AND ?1 IS NOT NULL"


OTHERS = "SELECT id FROM budgets WHERE used_at > ? ORDER BY id"
OTHERS_S = 35 * 86_400
"""How long after its last process a budget still counts what others spend."""


def others(connection: sqlite3.Connection, ledgers: Ledgers) -> tuple[Terms, ...]:
    """Budgets of other processes on this store, as of a release that is just being rolled out: what this process
    spends counts in them as well."""
    mine = {terms.id for terms in ledgers.terms.values()}
    ids = connection.execute(OTHERS, (int(ledgers.clock()) - OTHERS_S,)).fetchall()
    found = (ledgers.find(connection, budget_id) for (budget_id,) in ids if budget_id not in mine)
    return tuple(terms for terms in found if terms is not None)


def calls_of(row: Mapping[str, Any]) -> int:
    """How many calls a row stands for: the first of a call one, each result of a batch one, what is free none."""
    operation = row.get("operation")
    return int(operation == BATCHES_RESULT.name or (operation not in FREE and row["id"] == row["call_id"]))


def key_of(row: Mapping[str, Any]) -> str:
    """What a row is known by, also where a batch's results are read twice."""
    if row.get("batch_id") and row.get("custom_id"):
        return f"{row['batch_id']}/{row['custom_id']}"
    return str(row["id"])


def take(
    connection: sqlite3.Connection, ledgers: Ledgers, row: Mapping[str, Any], besides: Sequence[Terms] = ()
) -> None:
    """Takes one row into account, in every budget that it is under, of this process and `besides`."""
    if row.get("error_type") == "BudgetExceeded":
        return
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    call_id = row["call_id"]
    running = {each[1]: each for each in connection.execute(_sql.OPEN_OF, (call_id,)).fetchall()}
    ended = {each[0]: each for each in connection.execute(_sql.SETTLED_OF, (call_id,)).fetchall()}
    batch = {}
    if row.get("batch_id") and row.get("operation") == BATCHES_RESULT.name:
        batch = {each[1]: each for each in connection.execute(_sql.BATCH_OF, (row["batch_id"],)).fetchall()}
    under, places, rest = _under(ledgers, besides, row), _places(running, ended), rest_of(row)
    for budget_id in under.keys() | running.keys() | ended.keys() | batch.keys():
        if budget_id in ended and ended[budget_id][5] == SAID:
            connection.execute("UPDATE settled SET offered = 1 WHERE call_id = ? AND offered = 0", (call_id,))
        elif connection.execute(COUNTED, (key_of(row), budget_id, int(ledgers.clock()))).rowcount == 1:
            if budget_id in batch:
                _take_item(connection, ledgers, batch[budget_id], row)
            elif budget_id in running and row.get("operation") == BATCHES_CREATE.name:
                # Its owner may have died in between: the batch goes on, and what it reserved with it.
                connection.execute(HOLD, (row.get("batch_id"), call_id))
            elif budget_id in running:
                # Its owner settles it; should the owner die, this is what it has cost.
                connection.execute(ADD_SEEN, (_settled_spend(row), call_id, budget_id))
            elif budget_id in ended:
                _replace_estimate(connection, ledgers, call_id, ended[budget_id], _settled_spend(row))
            else:
                budget, key = under[budget_id]
                window = window_of(budget.per, budget.timezone, at)
                where = (budget_id, key, window.slot)
                charge(connection, ledgers, where, spend_of(row) or 0, calls_of(row), window.end)
                places[budget_id] = key, window.slot
            _hold(connection, ledgers, budget_id, places, rest)


def correct(
    connection: sqlite3.Connection, ledgers: Ledgers, mark: str, picousd: int, row: Mapping[str, Any], besides: Any
) -> None:
    """Adds what a row costs more since it was priced again to every budget that it was counted in, once for each
    `mark`."""
    call_id, now = row["call_id"], int(ledgers.clock())
    ended = {each[0]: each for each in connection.execute(_sql.SETTLED_OF, (call_id,)).fetchall()}
    running = {each[1]: each for each in connection.execute(_sql.OPEN_OF, (call_id,)).fetchall()}
    batch = {each[1]: each for each in connection.execute(_sql.BATCH_OF, (row.get("batch_id"),)).fetchall()}
    under, places, rest = _under(ledgers, besides, row), _places({**batch, **running}, ended), rest_of(row)
    for budget_id in under.keys() | ended.keys():
        if connection.execute(COUNTED, (mark, budget_id, now)).rowcount != 1:
            continue
        if budget_id not in places:
            budget, key = under[budget_id]
            at = datetime.fromisoformat(row["started_at"]).timestamp()
            places[budget_id] = key, window_of(budget.per, budget.timezone, at).slot
        where = (budget_id, *places[budget_id])
        if budget_id in ended and ended[budget_id][5] == ESTIMATED:
            _replace_estimate(connection, ledgers, call_id, ended[budget_id], spend_of(row))
        elif budget_id in running:
            connection.execute(SEEN_MORE, (picousd, call_id, budget_id))
        else:
            if budget_id in ended:
                connection.execute(SETTLED_MORE, (picousd, call_id, budget_id))
            # A counter that is forgotten stays so.
            if after := connection.execute(_sql.EXCHANGE, (*where, 0, 0, *_sql.split(picousd), 0)).fetchall():
                tell(connection, ledgers, where, after[0])
        hold_again(connection, budget_id, row["id"], rest)
        _hold(connection, ledgers, budget_id, places, rest)


def _places(running: Mapping[int, Any], ended: Mapping[int, Any]) -> dict[int, tuple[str, int]]:
    """The key and the slot under which each budget has a call, by what it has open and settled."""
    return {id_: each[2:4] for id_, each in running.items()} | {id_: each[1:3] for id_, each in ended.items()}


def _hold(
    connection: sqlite3.Connection,
    ledgers: Ledgers,
    budget_id: int,
    places: Mapping[int, tuple[str, int]],
    rest: Rest | None,
) -> None:
    if rest is not None and budget_id in places and (terms := ledgers.find(connection, budget_id)) is not None:
        where = (budget_id, *places[budget_id])
        if hold(connection, terms.budget, where, rest, ledgers.clock()):
            # This process knows the counter with it.
            charge(connection, ledgers, where, 0, 0)


def _under(ledgers: Ledgers, besides: Sequence[Terms], row: Mapping[str, Any]) -> dict[int, tuple[Budget, str]]:
    """The budgets that a row is under, by their ids, each with its key."""
    each = (*ledgers.terms.values(), *besides)
    return {terms.id: found for terms in each for found in matching((terms.budget,), row)}


def _settled_spend(row: Mapping[str, Any]) -> int | None:
    """What a row adds in place of what was set aside for it; `None` where it does not tell."""
    return spend_of(row) if tells_tokens(row.get("cost_flags") or "", row) else None


def _replace_estimate(
    connection: sqlite3.Connection, ledgers: Ledgers, call_id: str, settled: tuple[Any, ...], spend: int | None
) -> None:
    budget_id, key, slot, charged, calls, basis = settled
    if spend is None:
        return
    now = spend if basis == ESTIMATED else charged + spend
    charge(connection, ledgers, (budget_id, key, slot), now - charged, 0)
    connection.execute(CORRECT, (now, calls, ROWS, call_id, budget_id))


def _take_item(connection: sqlite3.Connection, ledgers: Ledgers, held: tuple[Any, ...], row: Mapping[str, Any]) -> None:
    """Charges one result of a batch in place of its share of what the batch reserved."""
    call_id, budget_id, key, slot, picousd, calls, _, _ = held
    share = picousd if calls <= 1 else picousd // calls
    spend = _settled_spend(row)
    values = (budget_id, key, slot, share, min(1, calls), *_sql.split(share if spend is None else spend), 1)
    after = connection.execute(_sql.EXCHANGE, values).fetchall()
    if after:
        tell(connection, ledgers, (budget_id, key, slot), after[0])
    connection.execute(SHRINK, (share, min(1, calls), call_id, budget_id))
    connection.execute("DELETE FROM open WHERE call_id = ? AND budget_id = ? AND calls <= 0", (call_id, budget_id))


def end_batch(connection: sqlite3.Connection, ledgers: Ledgers, batch_id: str) -> None:
    """Charges what is left of the batch's reservation at the estimate."""
    for call_id, budget_id, key, slot, picousd, calls, _, _ in connection.execute(
        _sql.BATCH_OF, (batch_id,)
    ).fetchall():
        values = (budget_id, key, slot, picousd, calls, *_sql.split(picousd), calls)
        after = connection.execute(_sql.EXCHANGE, values).fetchall()
        connection.execute("DELETE FROM open WHERE call_id = ? AND budget_id = ?", (call_id, budget_id))
        if after:
            tell(connection, ledgers, (budget_id, key, slot), after[0])
