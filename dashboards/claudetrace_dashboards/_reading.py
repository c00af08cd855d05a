"""Reads the ledger for pages: on Datasette's own connections, each answer of one state, once for all who ask it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from datasette.utils import sqlite_timelimit

from claudetrace_dashboards._copies import Copy, of_filters
from claudetrace_dashboards._plan import Plan, plan_calls
from claudetrace_dashboards.queries._readers import in_whole_days, is_late, is_too_much

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Coroutine

    from datasette.app import Datasette

    from claudetrace._ledger._question import Filter, Question
    from claudetrace._ledger._times import Span
    from claudetrace_dashboards._panel import Scope
    from claudetrace_dashboards.queries._readers import Found, Reader

KEPT, COPIES = 256, 2
"""How many answers are kept for who asks next, and how many copies of calls, until the ledger changes."""
COPIED_S = 60.0
"""How long a copy is kept at most: each of its calls takes a kilobyte."""
QUICK_TIMES, LATE_TIMES = 5, 20
"""How many times Datasette's limit of time a question has, which is several statements; and one of single calls."""
_kept: WeakKeyDictionary[Datasette, dict[int, OrderedDict[Any, asyncio.Future[Any]]]] = WeakKeyDictionary()


class DeniedError(Exception):
    """The reader may not see a table that the panel needs."""


class LateError(Exception):
    """The answer takes longer than a page waits."""


class TooMuchError(Exception):
    """The answer would read more single calls than a panel does: `args[0]` is the `Plan`."""


class Reading(NamedTuple):
    """An answer, and the question that it answers: of whole days where the other would have taken long."""

    found: Found
    question: Question


async def reading(scope: Scope, reader: Reader, question: Question, more: dict[str, Any], *, whole: bool) -> Reading:
    """The answer to `question`. Raises `LateError`, `TooMuchError`, `DeniedError`, or what SQLite raises."""

    def planned(connection: sqlite3.Connection) -> tuple[Question, Plan, tuple[Filter, ...]]:
        found, plan = question, reader.plan(connection, question, **more)
        if is_late(plan) and len(plan.tables) > 1 and "before" not in more:
            wide = in_whole_days(question)
            plan_of_wide = reader.plan(connection, wide, **more)
            found, plan = (question, plan) if is_late(plan_of_wide) else (wide, plan_of_wide)
        where = of_filters(found) if is_late(plan) else ()
        # A copy is for other questions too, so that there may be more in it than is asked for here.
        copies = [plan_calls(connection, found._replace(where=where, span=span)) for span in plan.scanned]
        return found, plan, () if any(map(is_too_much, copies)) else where

    asked, plan, copied = await _shared(
        scope, ("plan", reader, question, tuple(sorted(more.items()))), lambda: execute(scope, planned)
    )
    await _require_seen(scope, plan)
    if not whole and is_too_much(plan):
        raise TooMuchError(plan)
    if not whole and is_late(plan) and not scope.patient:
        raise LateError
    times = None if whole else LATE_TIMES if is_late(plan) else QUICK_TIMES

    async def read() -> Any:
        def answer(connection: sqlite3.Connection) -> Found:
            return reader.read(connection, asked, whole=whole, **more)

        if whole or not (copied and plan.scanned):
            return await execute(scope, answer, times)
        spans = plan.scanned
        copy = await _shared(scope, (copied, spans), lambda: _copy(scope, copied, spans), COPIES, COPIED_S)
        async with copy.lock:
            return await execute(scope, answer, times, copy.connection)

    if whole:
        return Reading(await read(), asked)
    return Reading(await _shared(scope, (reader, asked, tuple(sorted(more.items()))), read), asked)


async def _copy(scope: Scope, where: tuple[Filter, ...], spans: tuple[Span, ...]) -> Copy:
    def make(_: sqlite3.Connection) -> Copy:
        copy = Copy(Path(str(scope.ledger.db.path)), where, spans)
        with sqlite_timelimit(copy.connection, LATE_TIMES * int(scope.datasette.setting("sql_time_limit_ms"))):
            return copy.fill()

    made: Copy = await scope.ledger.db.execute_fn(make)
    return made


async def execute(
    scope: Scope,
    work: Callable[[sqlite3.Connection], Any],
    times: int | None = QUICK_TIMES,
    on: sqlite3.Connection | None = None,
) -> Any:
    """What `work` makes of the ledger in one state of it, within `times` the limit of time that Datasette has; `on` is
    another connection than Datasette's."""

    def run(connection: sqlite3.Connection) -> Any:
        connection = on or connection
        connection.execute("BEGIN")
        try:
            if times is None:
                return work(connection)
            with sqlite_timelimit(connection, times * int(scope.datasette.setting("sql_time_limit_ms"))):
                return work(connection)
        finally:
            connection.rollback()

    return await scope.ledger.db.execute_fn(run)


async def _require_seen(scope: Scope, plan: Plan) -> None:
    for table in sorted(scope.ledger.tables_of(" ".join(f"FROM {table}" for table in plan.tables))):
        if not await scope.sees(table):
            raise DeniedError(table)


async def _shared(
    scope: Scope,
    key: Any,
    make: Callable[[], Coroutine[Any, Any, Any]],
    most: int = KEPT,
    lasts_s: float | None = None,
) -> Any:
    """What `make` finds, of whoever asked it first: who leaves does not end it for the others."""
    kept = _kept.setdefault(scope.datasette, {}).setdefault(most, OrderedDict())
    marked = (scope.ledger.name, _marks(scope), key)
    task = kept.get(marked)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = kept[marked] = asyncio.ensure_future(make())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        if lasts_s is not None:
            asyncio.get_running_loop().call_later(lasts_s, kept.pop, marked, None)
        while len(kept) > most:
            kept.popitem(last=False)
    return await asyncio.shield(task)


def _marks(scope: Scope) -> tuple[Any, ...]:
    """What changes with each write to the ledger: looked at once for a page, so that its panels agree."""
    if not scope.marks:
        path = str(scope.ledger.db.path)
        scope.marks = tuple(_mark(Path(each)) for each in (path, f"{path}-wal"))
    return scope.marks


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
