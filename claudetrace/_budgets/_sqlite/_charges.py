"""What each call is charged in each budget: first what is set aside for it, then what it cost; and the ledger's rows,
each taken into account once."""

from __future__ import annotations

from typing import Any, NamedTuple

from claudetrace._budgets._sqlite._counters import MOST_PICOUSD, NOTHING, RESERVE, Said, Where, Work, split
from claudetrace._budgets._windows import BUCKETS

RESERVED, ESTIMATE, ROWS, OWNER = range(4)
"""On what a charge rests. What is higher replaces what is lower."""

COLUMNS = "call_id, budget_id, key, slot, basis, picousd, calls"
OF_CALL = f"SELECT {COLUMNS} FROM charges WHERE call_id = ? AND item = ''"  # noqa: S608 - names of ours
OF_BATCH = f"SELECT {COLUMNS} FROM charges WHERE batch_id = ? ORDER BY picousd"  # noqa: S608 - names of ours
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
HOLD_BATCH = """
    UPDATE charges
    SET batch_id = ?1, owner = ''
    WHERE (call_id = ?2 OR call_id BETWEEN ?2 || '/' AND ?2 || '/:') AND item = '' AND basis = 0
"""
"""One that set something aside for each of several has that under ids that begin with the call's."""
MORE = "UPDATE charges SET picousd = picousd + ? WHERE call_id = ? AND item = '' AND budget_id = ?"
TAKE_SHARE = """
    UPDATE charges
    SET picousd = picousd - ?, calls = calls - ?
    WHERE call_id = ? AND item = '' AND budget_id = ?
"""
USED_UP = "DELETE FROM charges WHERE call_id = ? AND item = '' AND budget_id = ? AND calls <= 0"
OFFERED = "UPDATE charges SET offered = 1 WHERE call_id = ? AND item = '' AND offered = 0"
ENDS = "SELECT ends FROM counters WHERE budget_id = ? AND key = ? AND slot = ?"
HOLD = """
    INSERT INTO held (row_id, budget_id, key, slot, picousd, until)
    SELECT ?1, ?2, ?3, ?4, MIN(?5, ?6 - held_picousd), until
    FROM (
        SELECT held_picousd, CASE WHEN ?7 OR ends IS NULL THEN ?8 + 86400 ELSE ends END AS until
        FROM counters
        WHERE budget_id = ?2 AND key = ?3 AND slot = ?4
    )
    WHERE held_picousd < ?6 AND until > ?9
    ON CONFLICT (row_id, budget_id) DO NOTHING
"""
"""Until its window ends; for a day where that has no end of its own."""
HOLD_AGAIN = "UPDATE held SET picousd = ? WHERE row_id = ? AND budget_id = ? AND picousd > 0"


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
    def where(self) -> Where:
        return self.budget_id, self.key, self.slot


def _of_call(work: Work, call_id: str) -> dict[int, Charge]:
    """What a call is charged, by the budgets."""
    return {each[1]: Charge(*each) for each in work.run(OF_CALL, call_id)}


def reserve(work: Work, said: Said) -> Any:
    """Sets aside in every budget, or in none and says which had no room."""
    if "needed" in said:
        return _reserve_anyway(work, said)
    call_id, needed = said["call"], (said["usd"], said["calls"])
    for each in said["claims"]:
        where = each["b"], each["k"], each["s"]
        limit = (None, 0) if each["usd"] is None else split(each["usd"])
        values = (*where, each["e"], *needed, each["since"], each["until"], *limit, each["most"])
        if needed[0] <= MOST_PICOUSD and (after := work.run(RESERVE, *values)):
            work.changed[where] = after[0]
            work.run(ADD, call_id, "", *where, RESERVED, *needed, work.owner(), int(work.now))
        else:
            totals = work.totals(*where[:2], each["since"], each["until"])
            withdraw(work, said)
            return {"denied": each["o"], "totals": totals}
    return None


def _reserve_anyway(work: Work, said: Said) -> None:
    """Sets aside for a call that was let through while the store was away. Its rows that were counted by themselves
    are in it."""
    call_id, needed = said["call"], (said["needed"], said["needed_calls"])
    known = _of_call(work, call_id)
    for each in said.get("claims", ()):
        if each["b"] not in known:
            where = each["b"], each["k"], each["s"]
            ((picousd, calls),) = work.run(OF_ROWS, call_id, each["b"])
            # Of a counter that is new nothing can be taken away.
            work.change(where, NOTHING, (-(picousd or 0), -calls), each["e"])
            work.change(where, (-needed[0], -needed[1]), NOTHING)
            work.run(ADD, call_id, "", *where, RESERVED, *needed, work.owner(), int(work.now))


def withdraw(work: Work, said: Said) -> None:
    """What was set aside for the call was not."""
    for of in _of_call(work, said["call"]).values():
        work.change(of.where, (of.picousd, of.calls), NOTHING)
    work.run(UNDO, said["call"])


def _charge(work: Work, of: Charge, basis: int, picousd: int, calls: int) -> None:
    """This call's charge is so much, on this basis: on a higher one than before, or on more rows. Else nothing
    changes."""
    if basis < of.basis or (basis == of.basis and basis != ROWS):
        return
    now = (of.picousd, of.calls)
    reserved, before = (now, NOTHING) if of.basis == RESERVED else (NOTHING, now)
    work.change(of.where, reserved, (picousd - before[0], calls - before[1]))
    work.run(REPLACE, basis, picousd, calls, of.call_id, of.budget_id)


def settle(work: Work, said: Said) -> None:
    """The call has ended: charges what its owner says; with `None` what its rows say, else the estimate."""
    picousd = said["usd"]
    for of in _of_call(work, said["call"]).values():
        for rest in said.get("rests", ()):
            _hold(work, of.where, rest, said["bound"])
        calls = of.calls if said["calls"] is None else said["calls"]
        if picousd is not None:
            _charge(work, of, OWNER, picousd, calls)
        elif (told := _rows_say(work, of)) is not None:
            _charge(work, of, ROWS, told, calls)
        else:
            _charge(work, of, ESTIMATE, of.picousd, calls)


def hold_batch(work: Work, said: Said) -> None:
    """A batch that was made goes on, and what it reserved with it."""
    work.run(HOLD_BATCH, said["batch"], said["call"])


def end_batch(work: Work, batch_id: str) -> None:
    """Charges what is left of the batch's reservation at the estimate."""
    for of in (Charge(*each) for each in work.run(OF_BATCH, batch_id)):
        _charge(work, of, ESTIMATE, of.picousd, of.calls)


def _hold(work: Work, where: Where, rest: Said, bound: Said) -> None:
    """Holds a rest in a budget that wants it, once for each row, until it is let go."""
    rolls = bound.get(str(where[0]))
    if rolls is not None:
        # So that no sum over the steps of a window overflows.
        most = MOST_PICOUSD // (2 * BUCKETS + 1) if rolls else MOST_PICOUSD
        if work.count(HOLD, rest["row"], *where, rest["usd"], most, rolls, rest["at"], work.now):
            # This process knows the counter with it.
            work.change(where, NOTHING, NOTHING)


def _rows_say(work: Work, of: Charge) -> int | None:
    """What the rows of a call say that it cost; `None` where none tells."""
    ((picousd, _),) = work.run(OF_ROWS, of.call_id, of.budget_id)
    return picousd  # type: ignore[no-any-return]  # a sum of whole numbers


# Rows of the ledger.


def _of_batch(work: Work, batch_id: str | None, under: dict[int, Any]) -> dict[int, Charge]:
    """What a batch has set aside in each budget for a result that is `under` these: for its own key, else for the key
    that most is left for."""
    found: dict[int, Charge] = {}
    for of in (Charge(*each) for each in work.run(OF_BATCH, batch_id)):
        before = found.get(of.budget_id)
        if before is None or before.key != _key(of, under):
            found[of.budget_id] = of
    return found


def _key(of: Charge, under: dict[int, Any]) -> str:
    """The key that a row counts for, where it tells."""
    return str(under[of.budget_id]["k"]) if of.budget_id in under else of.key


def _place(budget_id: int, mine: Charge | None, batch: Charge | None, under: dict[int, Any]) -> Where:
    """Where a row counts: where its call is charged, of a batch in its window for the row's own key, else by itself."""
    if mine is not None:
        return mine.where
    if batch is not None:
        return budget_id, _key(batch, under), batch.slot
    return budget_id, under[budget_id]["k"], under[budget_id]["s"]


def take(work: Work, said: Said) -> None:
    """Takes one row into account, in every budget that it is under, and where its call is charged."""
    if said["kind"] == "create" and said["batch"]:
        # Its owner may have died in between.
        hold_batch(work, {"batch": said["batch"], "call": said["of"]})
    under = {each["b"]: each for each in said.get("claims", ())}
    charged = _of_call(work, said["of"])
    batches = _of_batch(work, said["batch"], under) if said["kind"] == "result" else {}
    for budget_id in under.keys() | charged.keys() | batches.keys():
        mine, batch = charged.get(budget_id), batches.get(budget_id)
        of, where = mine or batch, _place(budget_id, mine, batch, under)
        if of is not None and of.basis == OWNER:
            work.run(OFFERED, said["call"])
        else:
            spend = said["usd"] if of is None else said["told"]
            values = (*where, ROWS, spend, said["calls"], None, int(work.now))
            if work.count(ADD, said["call"], said["item"], *values):
                _count(work, said, of, where, under)
        if said["rest"] is not None:
            _hold(work, where, said["rest"], said["bound"])


def _count(work: Work, said: Said, of: Charge | None, where: Where, under: dict[int, Any]) -> None:
    """Counts a row that is new, `of` the call's charge or the batch's."""
    if of is None:
        work.change(where, NOTHING, (said["usd"] or 0, said["calls"]), under[where[0]]["e"])
    elif of.basis == RESERVED and said["kind"] == "result":
        _take_share(work, of, where, said["told"])
    elif of.basis != RESERVED and (told := _rows_say(work, of)) is not None:
        _charge(work, of, ROWS, told, of.calls)


def _take_share(work: Work, of: Charge, where: Where, told: int | None) -> None:
    """Charges one result of a batch in place of its share of what the batch reserved, which may be for another key."""
    share = of.picousd if of.calls <= 1 else of.picousd // of.calls
    call = min(1, of.calls)
    ((end,),) = work.run(ENDS, *of.where)
    work.change(of.where, (share, call), NOTHING)
    work.change(where, NOTHING, (share if told is None else told, 1), end)
    work.run(TAKE_SHARE, share, call, of.call_id, of.budget_id)
    work.run(USED_UP, of.call_id, of.budget_id)


def correct(work: Work, said: Said) -> None:
    """Adds what a row costs more since it was priced again to every budget that it was counted in, once for each
    mark."""
    call_id, more = said["call"], said["more"]
    under = {each["b"]: each for each in said.get("claims", ())}
    charged, batches = _of_call(work, call_id), _of_batch(work, said["batch"], under)
    for budget_id in under.keys() | charged.keys():
        mine = charged.get(budget_id)
        where = _place(budget_id, mine, batches.get(budget_id), under)
        says = said["usd"] if mine is not None and mine.basis == ESTIMATE else more
        if not work.count(ADD, call_id, said["mark"], *where, ROWS, says, 0, None, int(work.now)):
            continue
        if mine is not None and mine.basis == ESTIMATE and says is not None:
            _charge(work, mine, ROWS, says, mine.calls)
        elif mine is None or mine.basis in (ROWS, OWNER):
            work.run(MORE, more, call_id, budget_id)
            # What is forgotten stays so.
            if work.run(ENDS, *where):
                work.change(where, NOTHING, (more, 0))
        rest = said["rest"]
        work.run(HOLD_AGAIN, 0 if rest is None else rest["usd"], said["id"], budget_id)
        if rest is not None:
            _hold(work, where, rest, said["bound"])
