"""The pages where something is closed, missing, damaged or slow: who sees what, and what is said."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from claudetrace_dashboards import _panel, _rows, _views
from claudetrace_dashboards._panel import Ask, Panel

from ._made import amounts, asked, picousd, plain_row, write
from .conftest import Site


async def test_without_ad_hoc_sql(desk: Path) -> None:
    """With `allow_sql: false` nobody asks SQL of their own, and the pages are as before."""
    site = Site(desk, metadata={"allow_sql": False})

    own_sql = await site.datasette.client.get("/ledger.json?sql=select+1", follow_redirects=True)
    assert own_sql.status_code == 403
    assert amounts((await site.get("")).text)


async def test_who_may_not_see_the_database(desk: Path) -> None:
    """A reader who may not see the database gets no figure, no name of it and no link; who may sees them."""
    site = Site(desk, metadata={"databases": {"ledger": {"allow": {"id": "boss"}}}})
    for path in ("", "/calls", "/panel/kpi", "/data/kpi.json", "/data/kpi.csv"):
        answer = await site.get(path)
        assert answer.status_code in (403, 404)
        assert not amounts(answer.text)
        assert "spend_picousd" not in answer.text

    assert amounts((await site.get("", actor={"id": "boss"})).text)


async def test_who_may_not_see_the_calls(desk: Path) -> None:
    """Where only the table of calls is closed, sums are shown and calls are not."""
    site = Site(desk, metadata={"databases": {"ledger": {"tables": {"calls": {"allow": {"id": "boss"}}}}}})
    ((id_,),) = asked(desk, "SELECT id FROM calls LIMIT 1")

    assert amounts((await site.get("/panel/cost_by_model")).text)
    assert "You may not see the table calls" in (await site.get("/panel/calls")).text
    assert (await site.get(f"/call/{id_}")).status_code == 403
    assert (await site.get("/data/calls.json")).status_code == 403
    assert (await site.get(f"/call/{id_}", actor={"id": "boss"})).status_code == 200


async def test_other_databases_are_left_alone(tmp_path: Path, desk: Path) -> None:
    """On a database that is no ledger there is no link and no changed cell; beside a ledger the pages show that."""
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.executescript(
            "CREATE TABLE calls (id TEXT PRIMARY KEY, cost_picousd); INSERT INTO calls VALUES (1, 5)"
        )
    alone = Site(other)
    answer = await alone.get("")
    table = await alone.datasette.client.get("/other/calls")

    assert answer.status_code == 404
    assert "There is no ledger here" in answer.text
    assert "claudetrace" not in (await alone.datasette.client.get("/")).text
    assert 'class="usd"' not in table.text
    assert amounts((await Site(other, desk).get("")).text)


async def test_several_ledgers(tmp_path: Path, desk: Path) -> None:
    """Where Datasette has several ledgers one is chosen by name, and links keep to it."""
    second = write(tmp_path / "second.db", [plain_row(int(datetime.now(UTC).timestamp() * 1e9) - 10**12)])
    site = Site(desk, second)
    html = (await site.get("", db="second")).text

    assert "db=second" in html
    assert f'<data value="{1}"' in html
    missing = await site.get("", db="nope")
    assert (missing.status_code, amounts(missing.text)) == (404, [])


@pytest.mark.parametrize("wrong", [{"tag": "nope"}, {"range": "foo"}])
async def test_no_file_of_figures_for_a_filter_that_cannot_be_read(desk: Path, wrong: dict[str, str]) -> None:
    """A program that asks with a misspelled filter gets an error and not the figures of everything."""
    answer = await Site(desk).get("/data/kpi.json", **wrong)

    assert answer.status_code == 400
    assert "spend_picousd" not in answer.text


async def test_a_ledger_of_another_version(tmp_path: Path) -> None:
    """An older and a newer ledger, and one from before the first release, are each named with the way out."""
    path = write(tmp_path / "ledger.db", [plain_row(10**18)])
    told = {}
    for version in (0, 99):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        told[version] = (await Site(path).get("")).text
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE calls RENAME COLUMN source TO origin")
    told[2] = (await Site(path).get("")).text

    assert "begun" in told[2]
    assert "claudetrace report --db" in told[0]
    assert "Upgrade claudetrace" in told[99]


async def test_a_damaged_ledger(tmp_path: Path, desk: Path) -> None:
    """A file that is no database, and one with a damaged page, give a page that says so."""
    path = Path(shutil.copy(desk, tmp_path / "ledger.db"))
    site = Site(path)
    await site.datasette.invoke_startup()
    _overwrite(path, 8192, os.urandom(4096 * 400))
    damaged = await site.get("")
    _overwrite(path, 0, b"no database at all " * 500)
    none = await site.get("")

    assert damaged.status_code in (200, 503)
    assert "damaged" in damaged.text
    assert "is-failed" in damaged.text or not amounts(damaged.text)
    assert "damaged" in none.text
    assert not amounts(none.text)


async def test_a_ledger_that_was_replaced(tmp_path: Path) -> None:
    """Where the file is removed or another put in its place, the page says so instead of showing the old one."""
    path = write(tmp_path / "ledger.db", [plain_row(time.time_ns() - 10**12)])
    site = Site(path)
    first = await site.get("")
    path.rename(tmp_path / "old.db")
    gone = await site.get("")
    write(path, [plain_row(time.time_ns() - 10**12)])
    replaced = await site.get("")

    assert amounts(first.text)
    assert "is gone" in gone.text
    assert "was replaced" in replaced.text


def _overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


async def test_a_locked_ledger(tmp_path: Path) -> None:
    """A ledger that another program holds locked gives a page that says so, and is shown when it is free."""
    path = write(tmp_path / "ledger.db", [plain_row(int(datetime.now(UTC).timestamp() * 1e9) - 10**12)])
    site = Site(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        await site.datasette.invoke_startup()
        connection.execute("BEGIN EXCLUSIVE")
        locked = await site.get("")
        connection.execute("ROLLBACK")
    free = await site.get("")

    assert "holds it locked" in locked.text
    assert amounts(free.text)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("unable to open database file", "-wal and -shm files"),
        ("attempt to write a readonly database", "Open it as its owner"),
        ("disk I/O error", "claudetrace doctor"),
        ("something new", "SQLite says: something new."),
    ],
)
async def test_what_sqlite_says_is_told(site: Site, monkeypatch: pytest.MonkeyPatch, said: str, told: str) -> None:
    """A ledger that SQLite cannot open, as for another user, gives a page with the reason and the way out."""

    async def fails(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError(said)

    await site.get("")
    monkeypatch.setattr(site.datasette.databases["ledger"], "execute", fails)
    monkeypatch.setattr(_views, "may_see", _anybody)
    answer = await site.get("")

    assert answer.status_code == 503
    assert told in unescape(answer.text)


async def _anybody(*_: Any) -> bool:
    return True


async def test_a_query_that_takes_too_long(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question beyond Datasette's limit fails in its panel alone, in words."""
    endless = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    statement = _rows.siblings("")._replace(sql=endless, parameters={})
    panel = Panel(name="slow", title="Slow", about="", asks={"a": Ask(lambda _: statement)}, draw=lambda *_: None)
    monkeypatch.setitem(_views.PANELS, "slow", panel)
    answer = await Site(desk, settings={"sql_time_limit_ms": 200}).get("/panel/slow")

    assert answer.status_code == 200
    assert "is-failed" in answer.text
    assert "took longer than Datasette's limit" in unescape(answer.text)


async def test_a_slow_panel_keeps_no_other_waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there in time is a panel that loads; the others are shown."""
    monkeypatch.setattr(_panel, "SLOW_S", 0.0)
    html = (await site.get("")).text

    assert "is-loading" in html
    assert 'aria-busy="true"' in html
    assert 'data-src="/-/claudetrace/panel/kpi?range=30d' in html


async def test_a_writer_beside_it(tmp_path: Path) -> None:
    """A call recorded while Datasette has the file open is on the page at the next look."""
    now = int(datetime.now(UTC).timestamp() * 1e9) - 10**12
    path = write(tmp_path / "ledger.db", [plain_row(now)])
    site = Site(path)
    first = (await site.get("/panel/kpi")).text
    write(path, [plain_row(now + 10**9)])
    second = (await site.get("/panel/kpi")).text

    assert picousd(amounts(second)[0]) == 2 * picousd(amounts(first)[0])


async def test_three_writers_beside_it(tmp_path: Path) -> None:
    """While three writers go on at full speed, no page meets a lock, and in the end all that was written is shown."""
    path = write(tmp_path / "ledger.db", [plain_row(time.time_ns() - 10**12)])
    site, stop, written = Site(path), threading.Event(), [0, 0, 0]
    errors: list[Exception] = []

    def keep_writing(number: int) -> None:
        while not stop.is_set():
            rows = [plain_row(time.time_ns() - 10**12 + turn) for turn in range(40)]
            try:
                write(path, rows)
                written[number] += len(rows)
            except sqlite3.OperationalError as error:
                # Between themselves writers wait 0.1 s, and the loader comes again.
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    errors.append(error)

    writers = [threading.Thread(target=keep_writing, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    pages = [await site.get(page) for page in ("", "/cache", "/latency", "/reliability", "/sessions", "/calls") * 4]
    stop.set()
    for writer in writers:
        writer.join()
    in_the_end = (await site.get("/panel/kpi")).text

    assert errors == []
    assert [page.status_code for page in pages] == [200] * len(pages)
    assert not any("is-failed" in page.text for page in pages)
    assert f'<data value="{sum(written) + 1}"' in in_the_end
