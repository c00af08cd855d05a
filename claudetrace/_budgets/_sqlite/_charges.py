"""What each call is charged in each budget: first what is set aside for it, then what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from claudetrace._budgets._sqlite import _held
from claudetrace._budgets._sqlite._counters import EXCHANGE, MOST_PICOUSD, RESERVE, split, totals
from claudetrace._budgets._store import Denied

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from claudetrace._budgets._sqlite._registry import Registry
    from claudetrace._budgets._store import Claim, Rest

RESERVED, ESTIMATE, ROWS, OWNER = range(4)
"""On what a charge rests. What is higher replaces what is lower."""

COLUMNS = "call_id, budget_id, key, slot, basis, picousd, calls"
OF_CALL = f"SELECT {COLUMNS} FROM charges WHERE call_id = ? AND item = ''"  # noqa: S608 - names of ours
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
OF_ROWS = """
    SELECT SUM(picousd), COALESCE(SUM(calls), 0)
    FROM charges
    WHERE call_id = ? AND item <> '' AND budget_id = ?
"""
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


def charges(connection: sqlite3.Connection, sql: str, value: str | None) -> dict[int, Charge]:
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
    for claim in claims:
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
        withdraw(connection, registry, call_id)
        return denied
    return None


def withdraw(connection: sqlite3.Connection, registry: Registry, call_id: str) -> None:
    """What was set aside for the call was not."""
    for each in charges(connection, OF_CALL, call_id).values():
        change(connection, registry, each.where, (each.picousd, each.calls), (0, 0))
    connection.execute(UNDO, (call_id,))


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
    known = charges(connection, OF_CALL, call_id)
    for budget, key, window in claims:
        budget_id = registry.mine[str(budget.name)].id
        if budget_id not in known:
            where = budget_id, key, window.slot
            picousd, calls = connection.execute(OF_ROWS, (call_id, budget_id)).fetchone()
            reserved, counted = (-needed[0], -needed[1]), (-(picousd or 0), -calls)
            # Of a counter that is new nothing can be taken away.
            change(connection, registry, where, (0, 0), counted, window.end)
            change(connection, registry, where, reserved, (0, 0))
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
    change(connection, registry, of.where, reserved, (picousd - before[0], calls - before[1]))
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
    for each in charges(connection, OF_CALL, call_id).values():
        for rest in rests:
            hold(connection, registry, each.where, rest)
        said = each.calls if calls is None else calls
        if picousd is not None:
            charge(connection, registry, each, OWNER, picousd, said)
        elif (told := rows_say(connection, each)) is not None:
            charge(connection, registry, each, ROWS, told, said)
        else:
            charge(connection, registry, each, ESTIMATE, each.picousd, said)


def change(
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


def hold(connection: sqlite3.Connection, registry: Registry, where: tuple[int, str, int], rest: Rest) -> None:
    budget = registry.find(connection, where[0])
    if budget is not None and _held.hold(connection, budget.budget, where, rest, registry.clock()):
        # This process knows the counter with it.
        change(connection, registry, where, (0, 0), (0, 0))


def rows_say(connection: sqlite3.Connection, of: Charge) -> int | None:
    """What the rows of a call say that it cost; `None` where none tells."""
    picousd, _ = connection.execute(OF_ROWS, (of.call_id, of.budget_id)).fetchone()
    return picousd  # type: ignore[no-any-return]  # a sum of whole numbers
