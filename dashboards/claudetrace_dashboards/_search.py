"""What the search box finds: calls by any of their ids, sessions, users and values of tags, and what begins alike."""

from __future__ import annotations

import sqlite3
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from claudetrace._errors import ClaudetraceError
from claudetrace._ledger._calls import INDEXED_IDS, OTHER_IDS
from claudetrace_dashboards import _format as show
from claudetrace_dashboards._reading import DeniedError, execute
from claudetrace_dashboards.queries._filters import NAMES

if TYPE_CHECKING:
    from claudetrace_dashboards._panel import Scope

MOST = 50
"""How many calls of one id are listed."""
SUGGESTED = 6
"""How many of a kind are suggested."""
SCAN_TIMES = 10
"""How many times Datasette's limit of time the ids without an index may take."""
LONGEST = 256
LAST = "\U0010ffff"
COLUMNS = "id, started_at, COALESCE(model, model_requested, operation), outcome, cost_picousd"
OF_SESSION = (
    "SELECT first_at, calls, spend_microusd * 1000000 + spend_rest_picousd FROM rollup_sessions WHERE session_id = :id"
)
OF_USER = "SELECT started_at FROM calls WHERE user_id = :id ORDER BY started_at DESC LIMIT 1"
# Each step is a look-up in the index, however many rows a value has.
TAGS = """
    WITH RECURSIVE named (tag) AS (
        SELECT MIN(tag) FROM rollup_tag_months
        UNION ALL
        SELECT (SELECT MIN(tag) FROM rollup_tag_months WHERE tag > named.tag) FROM named WHERE tag IS NOT NULL
    )
    SELECT tag FROM named WHERE tag IS NOT NULL AND tag <> 'user' LIMIT 64
"""
MONTHS = """
    WITH RECURSIVE had (month) AS (
        SELECT MAX(month) FROM rollup_tag_months WHERE tag = :tag
        UNION ALL
        SELECT (SELECT MAX(month) FROM rollup_tag_months WHERE tag = :tag AND month < had.month)
        FROM had
        WHERE month IS NOT NULL
    )
    SELECT month FROM had WHERE month IS NOT NULL LIMIT 24
"""
IS_VALUE = (
    "SELECT 1 FROM rollup_tag_months WHERE tag = :tag AND month = :month AND value = :value AND NOT others LIMIT 1"
)
NEXT = {
    "user": "SELECT MIN(user_id) FROM calls WHERE user_id {} :at AND user_id < :end",
    "session": "SELECT MIN(session_id) FROM rollup_sessions WHERE session_id {} :at AND session_id < :end",
    "tag": """SELECT MIN(value) FROM rollup_tag_months
        WHERE tag = :tag AND month = :month AND value {} :at AND value < :end AND NOT others""",
}


class Hit(NamedTuple):
    """Something that is found: what it is, its name, what there is to say of it, and its page."""

    kind: str
    value: str
    told: str
    url: str


async def hits(scope: Scope, text: str) -> list[Hit]:
    """All that has this very id or name. Raises `DeniedError`, or what SQLite raises."""
    await _require(scope)
    found: list[Hit] = await execute(scope, lambda connection: _hits(scope, connection, text[:LONGEST]))
    return found


async def scanned(scope: Scope, text: str) -> list[Hit]:
    """The calls with this id of a request or a span, which no index has: the newest are looked at first."""
    await _require(scope)
    # By rowid, so that the file is read as it lies, and a call of today is found at once.
    sql = f"SELECT {COLUMNS} FROM calls WHERE {OTHER_IDS} ORDER BY rowid DESC LIMIT 1"  # noqa: S608 - names of ours

    def read(connection: sqlite3.Connection) -> list[Hit]:
        return [_call(scope, "request or span", row) for row in connection.execute(sql, {"id": text[:LONGEST]})]

    try:
        found: list[Hit] = await execute(scope, read, SCAN_TIMES)
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        raise ClaudetraceError(
            "It is in none of the newest calls. To read all of them takes longer than a page waits: "
            f"claudetrace find {quote(text)}"
        ) from error
    return found


async def suggested(scope: Scope, text: str) -> list[Hit]:
    """What begins with the text: users, sessions and values of tags; and the one call that has this id."""
    await _require(scope)
    found: list[Hit] = await execute(scope, lambda connection: _suggested(scope, connection, text[:LONGEST]))
    return found


async def _require(scope: Scope) -> None:
    for table in ("calls", "rollup_sessions", "rollup_tag_months"):
        if not await scope.sees(table):
            raise DeniedError(table)


def _hits(scope: Scope, connection: sqlite3.Connection, text: str) -> list[Hit]:
    found: list[Hit] = []
    for kind, condition in INDEXED_IDS.items():
        if kind in ("session", "user"):
            continue
        sql = f"SELECT {COLUMNS} FROM calls WHERE {condition} ORDER BY started_at, id LIMIT {MOST}"  # noqa: S608 - names of ours
        found += [_call(scope, kind, row) for row in connection.execute(sql, {"id": text})]
    for first_at, calls, picousd in connection.execute(OF_SESSION, {"id": text}):
        told = f"began {first_at[:16].replace('T', ' ')} UTC, {calls:,} calls, {show.usd_text(picousd)}"
        found.append(Hit("session", text, told, _url(scope, "session", text)))
    for (last_at,) in connection.execute(OF_USER, {"id": text}):
        told = f"last call {last_at[:16].replace('T', ' ')} UTC"
        found.append(Hit("user", text, told, _url(scope, "user", text)))
    return found + _of_tags(scope, connection, text)


def _of_tags(scope: Scope, connection: sqlite3.Connection, text: str) -> list[Hit]:
    """The tags that have this value; `key:value` asks for one."""
    key, colon, value = text.partition(":")
    found = []
    for (tag,) in connection.execute(TAGS).fetchall():
        for (month,) in connection.execute(MONTHS, {"tag": tag}).fetchall():
            wanted = [text] if not (colon and key == tag) else [text, value]
            named = {"tag": tag, "month": month}
            known = [each for each in wanted if connection.execute(IS_VALUE, {**named, "value": each}).fetchone()]
            if known:
                found += [Hit(tag, each, f"last in {month}", _url(scope, "tag", each, tag)) for each in known]
                break
    if text in scope.models:
        found.append(Hit("model", text, "", _url(scope, "model", text)))
    if text in scope.features:
        found.append(Hit("feature", text, "", _url(scope, "feature", text)))
    return found


def _suggested(scope: Scope, connection: sqlite3.Connection, text: str) -> list[Hit]:
    found = [
        Hit(kind, value, "", _url(scope, kind, value))
        for kind in ("user", "session")
        for value in _begin(connection, kind, text)
    ]
    for (tag,) in connection.execute(TAGS).fetchall():
        values: dict[str, None] = {}
        for (month,) in connection.execute(MONTHS, {"tag": tag}).fetchmany(3):
            values |= dict.fromkeys(_begin(connection, "tag", text, tag=tag, month=month))
        found += [Hit(tag, value, "", _url(scope, "tag", value, tag)) for value in [*values][:SUGGESTED]]
    for kind, names in (("model", scope.models), ("feature", scope.features)):
        alike = [name for name in names if text.lower() in name.lower()]
        found += [Hit(kind, name, "", _url(scope, kind, name)) for name in alike[:SUGGESTED]]
    return found or _hits(scope, connection, text)[:1]


def _begin(connection: sqlite3.Connection, kind: str, text: str, **named: str) -> list[str]:
    """The first values that begin with `text`, each by one look-up."""
    found: list[str] = []
    at, how = text, ">="
    while len(found) < SUGGESTED:
        asked = {**named, "at": at, "end": text + LAST}
        (value,) = connection.execute(NEXT[kind].format(how), asked).fetchone()
        if value is None:
            break
        found.append(value)
        at, how = value, ">"
    return found


def _call(scope: Scope, kind: str, row: tuple[str, str, str, str, int | None]) -> Hit:
    id_, started_at, model, outcome, picousd = row
    told = f"{started_at[:19].replace('T', ' ')} UTC, {model}, {outcome}, {show.usd_text(picousd)}"
    return Hit(kind, id_, told, scope.row_url(id_))


def _url(scope: Scope, kind: str, value: str, tag: str = "") -> str:
    """Where it leads: a session to its timeline, all else to the first page of its calls alone."""
    nothing = scope.filters.but(**dict.fromkeys((*NAMES, "tag")))
    if kind == "session":
        return scope.url("session", nothing.but(session=value))
    # Far back enough for what was found to have calls there.
    nothing = nothing.but(preset="90d")
    return scope.url("calls", nothing.but(tag=(tag, value)) if kind == "tag" else nothing.but(**{kind: value}))
