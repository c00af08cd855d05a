"""Rows of the ledger, each taken into account once: of a call that has a charge, of a batch, or by itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._match import matching
from claudetrace._budgets._rests import rest_of
from claudetrace._budgets._sqlite import _held
from claudetrace._budgets._sqlite._charges import (
    ADD,
    COLUMNS,
    ESTIMATE,
    HOLD_BATCH,
    OF_CALL,
    OWNER,
    RESERVED,
    ROWS,
    Charge,
    change,
    charge,
    charges,
    hold,
    rows_say,
)
from claudetrace._budgets._windows import window_of
from claudetrace._call import spend_of, tells_tokens
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._sqlite._registry import Registered, Registry

OF_BATCH = f"SELECT {COLUMNS} FROM charges WHERE batch_id = ?"  # noqa: S608 - names of ours
MORE = "UPDATE charges SET picousd = picousd + ? WHERE call_id = ? AND item = '' AND budget_id = ?"
TAKE_SHARE = """
    UPDATE charges
    SET picousd = picousd - ?, calls = calls - ?
    WHERE call_id = ? AND item = '' AND budget_id = ?
"""
USED_UP = "DELETE FROM charges WHERE call_id = ? AND item = '' AND budget_id = ? AND calls <= 0"
OFFERED = "UPDATE charges SET offered = 1 WHERE call_id = ? AND item = '' AND offered = 0"
HOLD_PARTS = """
    UPDATE charges
    SET batch_id = ?1, owner = ''
    WHERE call_id BETWEEN ?2 || '/' AND ?2 || '/:' AND item = '' AND basis = 0
"""
"""Those of a batch that set something aside for each of several, under ids that begin with the call's."""


def end_batch(connection: sqlite3.Connection, registry: Registry, batch_id: str) -> None:
    """Charges what is left of the batch's reservation at the estimate."""
    for each in connection.execute(OF_BATCH, (batch_id,)).fetchall():
        of = Charge(*each)
        charge(connection, registry, of, ESTIMATE, of.picousd, of.calls)


def _of_batch(
    connection: sqlite3.Connection, batch_id: str | None, under: Mapping[int, tuple[Budget, str]]
) -> dict[int, Charge]:
    """What a batch has set aside in each budget for a result that is `under` these: for its own key, else for the key
    that most is left for."""
    found: dict[int, Charge] = {}
    for of in sorted((Charge(*each) for each in connection.execute(OF_BATCH, (batch_id,))), key=lambda of: of.picousd):
        before = found.get(of.budget_id)
        if before is None or before.key != _key(of, under):
            found[of.budget_id] = of
    return found


def _key(of: Charge, under: Mapping[int, tuple[Budget, str]]) -> str:
    """The key that a row counts for, where it tells."""
    return under[of.budget_id][1] if of.budget_id in under else of.key


def _places(
    mine: Mapping[int, Charge], batch: Mapping[int, Charge], under: Mapping[int, tuple[Budget, str]]
) -> dict[int, tuple[int, str, int]]:
    """Where a row counts: where its call is charged, and of a batch in its window for the row's own key."""
    of_batch = {id_: (id_, _key(of, under), of.slot) for id_, of in batch.items()}
    return of_batch | {id_: of.where for id_, of in mine.items()}


def calls_of(row: Mapping[str, Any]) -> int:
    """How many calls a row stands for: the first of a call one, each result of a batch one, what is free none."""
    operation = row.get("operation")
    return int(operation == BATCHES_RESULT.name or (operation not in FREE and row["id"] == row["call_id"]))


def take(
    connection: sqlite3.Connection, registry: Registry, row: Mapping[str, Any], budgets: Sequence[Registered]
) -> None:
    """Takes one row into account, in every one of `budgets` that it is under, and where its call is charged."""
    if row.get("error_type") == "BudgetExceeded":
        return
    is_result = row.get("operation") == BATCHES_RESULT.name and bool(row.get("batch_id"))
    # However often a batch's results are read, they are of the batch, each once.
    call_id = row["batch_id"] if is_result else row["call_id"]
    item = (row.get("custom_id") if is_result else None) or row["id"]
    mine, rest = charges(connection, OF_CALL, row["call_id"]), rest_of(row)
    under = _under(budgets, row)
    batch = _of_batch(connection, call_id, under) if is_result else {}
    if row.get("operation") == BATCHES_CREATE.name and row.get("batch_id"):
        # Its owner may have died in between: the batch goes on, and what it reserved with it.
        connection.execute(HOLD_BATCH, (row["batch_id"], row["call_id"]))
        connection.execute(HOLD_PARTS, (row["batch_id"], row["call_id"]))
    places = _places(mine, batch, under)
    for budget_id in under.keys() | places.keys():
        each = mine.get(budget_id) or batch.get(budget_id)
        where = places.get(budget_id) or (budget_id, *_place(*under[budget_id], row))
        if each is not None and each.basis == OWNER:
            connection.execute(OFFERED, (call_id,))
        else:
            spend = spend_of(row) if each is None else _told_by(row)
            values = (call_id, item, *where, ROWS, spend, calls_of(row), None, registry.now)
            if connection.execute(ADD, values).rowcount == 1:
                _count(connection, registry, where, each, row)
        if rest is not None:
            hold(connection, registry, where, rest)


def _count(
    connection: sqlite3.Connection,
    registry: Registry,
    where: tuple[int, str, int],
    of: Charge | None,
    row: Mapping[str, Any],
) -> None:
    """Counts a row that is new, `of` the call's charge or the batch's."""
    if of is None:
        end = _end(connection, registry, where)
        change(connection, registry, where, (0, 0), (spend_of(row) or 0, calls_of(row)), end)
    elif of.basis == RESERVED and row.get("operation") == BATCHES_RESULT.name:
        _take_share(connection, registry, of, where, _told_by(row))
    elif of.basis != RESERVED and (told := rows_say(connection, of)) is not None:
        charge(connection, registry, of, ROWS, told, of.calls)


def _take_share(
    connection: sqlite3.Connection, registry: Registry, of: Charge, where: tuple[int, str, int], spend: int | None
) -> None:
    """Charges one result of a batch in place of its share of what the batch reserved, which may be for another key."""
    share = of.picousd if of.calls <= 1 else of.picousd // of.calls
    call = min(1, of.calls)
    spent = share if spend is None else spend, 1
    if where == of.where:
        change(connection, registry, where, (share, call), spent)
    else:
        change(connection, registry, of.where, (share, call), (0, 0))
        change(connection, registry, where, (0, 0), spent, _end(connection, registry, where))
    connection.execute(TAKE_SHARE, (share, call, of.call_id, of.budget_id))
    connection.execute(USED_UP, (of.call_id, of.budget_id))


def correct(
    connection: sqlite3.Connection,
    registry: Registry,
    mark: str,
    picousd: int,
    row: Mapping[str, Any],
    budgets: Sequence[Registered],
) -> None:
    """Adds what a row costs more since it was priced again to every budget that it was counted in, once for each
    `mark`."""
    call_id, rest = row["call_id"], rest_of(row)
    mine = charges(connection, OF_CALL, call_id)
    under = _under(budgets, row)
    places = _places(mine, _of_batch(connection, row.get("batch_id"), under), under)
    for budget_id in under.keys() | mine.keys():
        each = mine.get(budget_id)
        where = places.get(budget_id) or (budget_id, *_place(*under[budget_id], row))
        says = spend_of(row) if each is not None and each.basis == ESTIMATE else picousd
        if connection.execute(ADD, (call_id, mark, *where, ROWS, says, 0, None, registry.now)).rowcount != 1:
            continue
        if each is not None and each.basis == ESTIMATE and says is not None:
            charge(connection, registry, each, ROWS, says, each.calls)
        elif each is None or each.basis in (ROWS, OWNER):
            connection.execute(MORE, (picousd, call_id, budget_id))
            if _has_counter(connection, where):
                change(connection, registry, where, (0, 0), (picousd, 0))
        _held.hold_again(connection, budget_id, row["id"], rest)
        if rest is not None:
            hold(connection, registry, where, rest)


def _end(connection: sqlite3.Connection, registry: Registry, where: tuple[int, str, int]) -> int | None:
    """When the window of a counter ends."""
    found = registry.find(connection, where[0])
    return None if found is None else window_of(found.budget.per, found.budget.timezone, where[2]).end


def _has_counter(connection: sqlite3.Connection, where: tuple[int, str, int]) -> bool:
    """Whether there is still one: what is forgotten stays so."""
    sql = "SELECT 1 FROM counters WHERE budget_id = ? AND key = ? AND slot = ?"
    return connection.execute(sql, where).fetchone() is not None


def _under(budgets: Sequence[Registered], row: Mapping[str, Any]) -> dict[int, tuple[Budget, str]]:
    """The budgets that a row is under, by their ids, each with its key."""
    return {each.id: found for each in budgets for found in matching((each.budget,), row)}


def _place(budget: Budget, key: str, row: Mapping[str, Any]) -> tuple[str, int]:
    """The key and the slot that a row without a charge of its call counts in."""
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    return key, window_of(budget.per, budget.timezone, at).slot


def _told_by(row: Mapping[str, Any]) -> int | None:
    """What a row says in place of what was set aside; `None` where it does not tell."""
    if row.get("operation") == BATCHES_CREATE.name:
        return None
    return spend_of(row) if tells_tokens(row.get("cost_flags") or "", row) else None
