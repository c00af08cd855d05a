"""What each call is charged in each budget: first what is set aside for it, then what it cost."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._budgets._match import matching
from claudetrace._budgets._rests import rest_of
from claudetrace._budgets._sqlite import _held
from claudetrace._budgets._sqlite._counters import EXCHANGE, MOST_PICOUSD, RESERVE, split, totals
from claudetrace._budgets._store import Denied
from claudetrace._budgets._windows import window_of
from claudetrace._call import spend_of, tells_tokens
from claudetrace._operations import BATCHES_CREATE, BATCHES_RESULT, FREE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from claudetrace._budgets._budget import Budget
    from claudetrace._budgets._sqlite._registry import Registered, Registry
    from claudetrace._budgets._store import Claim, Rest

RESERVED, ESTIMATE, ROWS, OWNER = range(4)
"""On what a charge rests. What is higher replaces what is lower."""

COLUMNS = "call_id, budget_id, key, slot, basis, picousd, calls"
OF_CALL = f"SELECT {COLUMNS} FROM charges WHERE call_id = ? AND item = ''"  # noqa: S608 - names of ours
OF_BATCH = f"SELECT {COLUMNS} FROM charges WHERE batch_id = ?"  # noqa: S608 - names of ours
ADD = """
    INSERT INTO charges (call_id, item, budget_id, key, slot, basis, picousd, calls, owner, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""
REPLACE = """
    UPDATE charges
    SET basis = ?, picousd = ?, calls = ?, owner = NULL, batch_id = NULL
    WHERE call_id = ? AND item = '' AND budget_id = ?
"""
MORE = "UPDATE charges SET picousd = picousd + ? WHERE call_id = ? AND item = '' AND budget_id = ?"
TAKE_SHARE = """
    UPDATE charges
    SET picousd = picousd - ?, calls = calls - ?
    WHERE call_id = ? AND item = '' AND budget_id = ?
"""
USED_UP = "DELETE FROM charges WHERE call_id = ? AND item = '' AND budget_id = ? AND calls <= 0"
OF_ROWS = """
    SELECT SUM(picousd), COALESCE(SUM(calls), 0)
    FROM charges
    WHERE call_id = ? AND item <> '' AND budget_id = ?
"""
OFFERED = "UPDATE charges SET offered = 1 WHERE call_id = ? AND item = '' AND offered = 0"
UNDO = "DELETE FROM charges WHERE call_id = ? AND item = ''"
HOLD_BATCH = "UPDATE charges SET batch_id = ?, owner = '' WHERE call_id = ? AND item = '' AND basis = 0"


class Charge(NamedTuple):
    """What one call is charged in one budget now."""

    call_id: str
    budget_id: int
    key: str
    slot: int
    basis: int
    picousd: int
    calls: int

    @property
    def where(self) -> tuple[int, str, int]:
        return self.budget_id, self.key, self.slot


def _charges(connection: sqlite3.Connection, sql: str, value: str | None) -> dict[int, Charge]:
    """By their budgets."""
    return {each[1]: Charge(*each) for each in connection.execute(sql, (value,)).fetchall()}


def reserve(
    connection: sqlite3.Connection,
    registry: Registry,
    call_id: str,
    claims: Sequence[Claim],
    needed: tuple[int, int],
    owner: str,
) -> Denied | None:
    """Sets `needed` dollars and calls aside in every budget, or in none and says which had no room."""
    for done, claim in enumerate(claims):
        each, (_, end, slot, since, until) = registry.mine[str(claim.budget.name)], claim.window
        where = each.id, claim.key, slot
        if needed[0] <= MOST_PICOUSD:
            values = (*where, end, *needed, since, until, each.whole, each.rest, claim.budget.max_calls)
            # To its end: a statement that is not may hold up the commit.
            if after := connection.execute(RESERVE, values).fetchall():
                registry.changed(connection, where, after[0])
                connection.execute(ADD, (call_id, "", *where, RESERVED, *needed, owner, registry.now))
                continue
        denied = Denied(claim, totals(connection, each.id, claim.key, claim.window))
        for undone in claims[:done]:
            where = registry.mine[str(undone.budget.name)].id, undone.key, undone.window.slot
            _change(connection, registry, where, needed, (0, 0))
        connection.execute(UNDO, (call_id,))
        return denied
    return None


def reserve_anyway(
    connection: sqlite3.Connection,
    registry: Registry,
    call_id: str,
    claims: Sequence[Claim],
    needed: tuple[int, int],
    owner: str,
) -> None:
    """Sets so much aside for a call that was let through while the store was away. Its rows that were counted by
    themselves are in it."""
    known = _charges(connection, OF_CALL, call_id)
    for budget, key, window in claims:
        budget_id = registry.mine[str(budget.name)].id
        if budget_id not in known:
            where = budget_id, key, window.slot
            picousd, calls = connection.execute(OF_ROWS, (call_id, budget_id)).fetchone()
            reserved, counted = (-needed[0], -needed[1]), (-(picousd or 0), -calls)
            # Of a counter that is new nothing can be taken away.
            _change(connection, registry, where, (0, 0), counted, window.end)
            _change(connection, registry, where, reserved, (0, 0))
            connection.execute(ADD, (call_id, "", *where, RESERVED, *needed, owner, registry.now))


def charge(
    connection: sqlite3.Connection, registry: Registry, of: Charge, basis: int, picousd: int, calls: int
) -> None:
    """This call's charge is so much, on this basis: on a higher one than before, or on more rows. Else nothing
    changes."""
    if basis < of.basis or (basis == of.basis and basis != ROWS):
        return
    now = (of.picousd, of.calls)
    reserved, before = (now, (0, 0)) if of.basis == RESERVED else ((0, 0), now)
    _change(connection, registry, of.where, reserved, (picousd - before[0], calls - before[1]))
    connection.execute(REPLACE, (basis, picousd, calls, of.call_id, of.budget_id))


def settle(
    connection: sqlite3.Connection,
    registry: Registry,
    call_id: str,
    picousd: int | None,
    calls: int | None,
    rests: Iterable[Rest] = (),
) -> None:
    """The call has ended: charges what its owner says; with `None` what its rows say, else the estimate."""
    for each in _charges(connection, OF_CALL, call_id).values():
        for rest in rests:
            _hold(connection, registry, each.where, rest)
        said = each.calls if calls is None else calls
        if picousd is not None:
            charge(connection, registry, each, OWNER, picousd, said)
        elif (told := _told(connection, each)) is not None:
            charge(connection, registry, each, ROWS, told, said)
        else:
            charge(connection, registry, each, ESTIMATE, each.picousd, said)


def end_batch(connection: sqlite3.Connection, registry: Registry, batch_id: str) -> None:
    """Charges what is left of the batch's reservation at the estimate."""
    for each in _charges(connection, OF_BATCH, batch_id).values():
        charge(connection, registry, each, ESTIMATE, each.picousd, each.calls)


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
    mine, rest = _charges(connection, OF_CALL, row["call_id"]), rest_of(row)
    batch = _charges(connection, OF_BATCH, call_id) if is_result else {}
    under = _under(budgets, row)
    for budget_id in under.keys() | mine.keys() | batch.keys():
        each = mine.get(budget_id) or batch.get(budget_id)
        where = each.where if each else (budget_id, *_place(*under[budget_id], row))
        if each is not None and each.basis == OWNER:
            connection.execute(OFFERED, (call_id,))
        else:
            spend = spend_of(row) if each is None else _told_by(row)
            values = (call_id, item, *where, ROWS, spend, calls_of(row), None, registry.now)
            if connection.execute(ADD, values).rowcount == 1:
                _count(connection, registry, where, each, row)
        if rest is not None:
            _hold(connection, registry, where, rest)


def _count(
    connection: sqlite3.Connection,
    registry: Registry,
    where: tuple[int, str, int],
    of: Charge | None,
    row: Mapping[str, Any],
) -> None:
    """Counts a row that is new, `of` the call's charge or the batch's."""
    if of is None:
        budget = registry.find(connection, where[0])
        end = None if budget is None else window_of(budget.budget.per, budget.budget.timezone, where[2]).end
        _change(connection, registry, where, (0, 0), (spend_of(row) or 0, calls_of(row)), end)
    elif of.basis == RESERVED and row.get("operation") == BATCHES_RESULT.name:
        _take_share(connection, registry, of, _told_by(row))
    elif of.basis == RESERVED and row.get("operation") == BATCHES_CREATE.name and row.get("batch_id"):
        # Its owner may have died in between: the batch goes on, and what it reserved with it.
        connection.execute(HOLD_BATCH, (row["batch_id"], of.call_id))
    elif of.basis != RESERVED and (told := _told(connection, of)) is not None:
        charge(connection, registry, of, ROWS, told, of.calls)


def _take_share(connection: sqlite3.Connection, registry: Registry, of: Charge, spend: int | None) -> None:
    """Charges one result of a batch in place of its share of what the batch reserved."""
    share = of.picousd if of.calls <= 1 else of.picousd // of.calls
    call = min(1, of.calls)
    _change(connection, registry, of.where, (share, call), (share if spend is None else spend, 1))
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
    mine = _charges(connection, OF_CALL, call_id)
    places = {**_charges(connection, OF_BATCH, row.get("batch_id")), **mine}
    under = _under(budgets, row)
    for budget_id in under.keys() | mine.keys():
        each = mine.get(budget_id)
        where = places[budget_id].where if budget_id in places else (budget_id, *_place(*under[budget_id], row))
        says = spend_of(row) if each is not None and each.basis == ESTIMATE else picousd
        if connection.execute(ADD, (call_id, mark, *where, ROWS, says, 0, None, registry.now)).rowcount != 1:
            continue
        if each is not None and each.basis == ESTIMATE and says is not None:
            charge(connection, registry, each, ROWS, says, each.calls)
        elif each is None or each.basis in (ROWS, OWNER):
            connection.execute(MORE, (picousd, call_id, budget_id))
            if _has_counter(connection, where):
                _change(connection, registry, where, (0, 0), (picousd, 0))
        _held.hold_again(connection, budget_id, row["id"], rest)
        if rest is not None:
            _hold(connection, registry, where, rest)


def _change(
    connection: sqlite3.Connection,
    registry: Registry,
    where: tuple[int, str, int],
    reserved: tuple[int, int],
    spent: tuple[int, int],
    end: int | None = None,
) -> None:
    """Takes from what is reserved and adds to what is spent, dollars and calls each."""
    values = (*where, end, *reserved, *split(spent[0]), spent[1])
    registry.changed(connection, where, connection.execute(EXCHANGE, values).fetchall()[0])


def _has_counter(connection: sqlite3.Connection, where: tuple[int, str, int]) -> bool:
    """Whether there is still one: what is forgotten stays so."""
    sql = "SELECT 1 FROM counters WHERE budget_id = ? AND key = ? AND slot = ?"
    return connection.execute(sql, where).fetchone() is not None


def _hold(connection: sqlite3.Connection, registry: Registry, where: tuple[int, str, int], rest: Rest) -> None:
    budget = registry.find(connection, where[0])
    if budget is not None and _held.hold(connection, budget.budget, where, rest, registry.clock()):
        # This process knows the counter with it.
        _change(connection, registry, where, (0, 0), (0, 0))


def _under(budgets: Sequence[Registered], row: Mapping[str, Any]) -> dict[int, tuple[Budget, str]]:
    """The budgets that a row is under, by their ids, each with its key."""
    return {each.id: found for each in budgets for found in matching((each.budget,), row)}


def _place(budget: Budget, key: str, row: Mapping[str, Any]) -> tuple[str, int]:
    """The key and the slot that a row without a charge of its call counts in."""
    at = datetime.fromisoformat(row["started_at"]).timestamp()
    return key, window_of(budget.per, budget.timezone, at).slot


def _told(connection: sqlite3.Connection, of: Charge) -> int | None:
    """What the rows of a call say that it cost; `None` where none tells."""
    picousd, _ = connection.execute(OF_ROWS, (of.call_id, of.budget_id)).fetchone()
    return picousd  # type: ignore[no-any-return]  # a sum of whole numbers


def _told_by(row: Mapping[str, Any]) -> int | None:
    """What a row says in place of what was set aside; `None` where it does not tell."""
    if row.get("operation") == BATCHES_CREATE.name:
        return None
    return spend_of(row) if tells_tokens(row.get("cost_flags") or "", row) else None
