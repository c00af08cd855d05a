"""The pages, through Datasette's own test client: their figures, their manners, and what they say of trouble."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from claudetrace_dashboards import _panel, _rows, _views
from claudetrace_dashboards._panel import Ask, Panel

from ._made import HOSTILE, IMAGE, SCRIPT, plain_row, write
from .conftest import Site

PAGES = ("", "/cache", "/latency", "/reliability", "/sessions", "/session", "/calls")
SUMS = """
    SELECT
        COUNT(DISTINCT call_id),
        COALESCE(SUM(spend_picousd), 0),
        COUNT(*) FILTER (WHERE cost_picousd IS NULL),
        COALESCE(SUM(cache_saved_picousd), 0)
    FROM calls
    WHERE started_at >= :since AND started_at < :until
"""


def asked(path: Path, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def thirty_days() -> tuple[str, str]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{today - timedelta(days=29):%Y-%m-%dT%H}", f"{today + timedelta(days=1):%Y-%m-%dT%H}"


def amounts(html: str) -> list[str]:
    return re.findall(r'<data class="usd" value="([^"]+)"', html)


class Markup(HTMLParser):
    """What a browser would make of a page: its links, its scripts, its handlers of events."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


def picousd(usd: str) -> int:
    whole, _, rest = usd.lstrip("-").partition(".")
    return (-1 if usd.startswith("-") else 1) * (int(whole) * 10**12 + int(rest.ljust(12, "0")))


@pytest.mark.parametrize("page", PAGES)
async def test_each_page_is_whole(site: Site, page: str) -> None:
    """A page answers 200 under a policy that lets nothing in from elsewhere, and none of its panels failed."""
    answer = await site.get(page)

    assert answer.status_code == 200, answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert 'class="panel' in answer.text
    assert not re.search(r"is-(failed|denied|loading)", answer.text)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)


async def test_the_figures_are_those_of_the_calls(site: Site, desk: Path) -> None:
    """Spend, calls and unpriced calls of the key figures equal SQL over the raw calls."""
    since, until = thirty_days()
    ((calls, spend, unpriced, saved),) = asked(desk, SUMS, since=since, until=until)
    html = (await site.get("/panel/kpi", range="30d")).text

    shown = amounts(html)
    assert picousd(shown[0]) == spend
    assert picousd(shown[1]) == saved
    assert f'<data value="{calls}"' in html
    assert f"{unpriced:,} unpriced" in html


async def test_filters_hold_in_any_combination(site: Site, desk: Path) -> None:
    """The spend of a model, a feature and a platform together equals that of those calls."""
    since, until = thirty_days()
    chosen = {"model": "claude-sonnet-5", "feature": "translate", "platform": "bedrock"}
    conditions = " AND ".join(f"{name} = :{name}" for name in chosen)
    ((_, spend, _, _),) = asked(desk, f"{SUMS} AND {conditions}", since=since, until=until, **chosen)
    html = (await site.get("/panel/kpi", range="30d", **chosen)).text

    assert spend > 0
    assert picousd(amounts(html)[0]) == spend


@pytest.mark.parametrize(("name", "column"), [("user", "user_id"), ("session", "session_id"), ("tag", "customer")])
async def test_one_user_session_or_tag(site: Site, desk: Path, name: str, column: str) -> None:
    """The spend of one user, one session or one tag's value equals that of those calls."""
    since, until = thirty_days()
    sql = (
        f"SELECT {column} FROM calls WHERE started_at >= :since AND spend_picousd > 0 AND {column} IS NOT NULL LIMIT 1"
    )
    ((value,),) = asked(desk, sql, since=since)
    ((_, spend, _, _),) = asked(desk, f"{SUMS} AND {column} = :value", since=since, until=until, value=value)
    asked_for = f"customer:{value}" if name == "tag" else value
    html = (await site.get("/panel/kpi", range="30d", **{name: asked_for})).text

    assert picousd(amounts(html)[0]) == spend


async def test_a_panel_that_cannot_filter_says_so(site: Site) -> None:
    """A panel whose sums do not know a filter shows no figures, says why, and links to itself without it."""
    html = (await site.get("/panel/errors_by_type", user="u1")).text

    assert "is-unheard" in html
    assert "not kept for one user" in html
    assert "<rect" not in html


async def test_csv_and_json_are_exact(site: Site, desk: Path) -> None:
    """The data of the cost by model adds up to the spend of the calls, in picodollars and in dollars."""
    since, until = thirty_days()
    ((_, spend, _, _),) = asked(desk, SUMS, since=since, until=until)
    rows = (await site.get("/data/cost_by_model.json", range="30d")).json()["rows"]
    lines = list(csv.DictReader(io.StringIO((await site.get("/data/cost_by_model.csv", range="30d")).text)))

    assert sum(row["spend_picousd"] for row in rows) == spend
    assert sum(picousd(row["spend_usd"]) for row in rows) == spend
    assert sum(int(line["spend_picousd"]) for line in lines) == spend


async def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    """A name that a spreadsheet would take for a formula has a quote before it in CSV."""
    row = plain_row(int(datetime.now(UTC).timestamp() * 1e9) - 10**12) | {"feature": "=HYPERLINK(1)"}
    site = Site(write(tmp_path / "ledger.db", [row]))

    assert "'=HYPERLINK(1)" in (await site.get("/data/cost_by_feature.csv")).text


@pytest.mark.parametrize("page", [*PAGES, "/call"])
async def test_hostile_names_are_text(desk: Path, site: Site, page: str) -> None:
    """Markup in names, tags and errors is shown as text on every page, and stands in no attribute unescaped."""
    arguments = {"range": "24h"}
    if page == "/call":
        ((id_,),) = asked(desk, "SELECT id FROM calls WHERE feature = :f AND usage IS NOT NULL", f=HOSTILE["feature"])
        page = f"/call/{id_}"
    if page == "/session":
        arguments["session"] = HOSTILE["session_id"]
    html = (await site.get(page, **arguments)).text

    markup = Markup()
    markup.feed(html)
    assert SCRIPT not in html
    assert IMAGE not in html
    assert markup.handlers == []
    assert [link for link in markup.links if not link.startswith(("/", "#"))] == []
    assert markup.scripts == 1


async def test_hostile_filters_are_text(site: Site) -> None:
    """What the URL says is shown as text, and one that cannot be read is told and left out."""
    html = (await site.get("", range=SCRIPT, model=IMAGE, tag=SCRIPT, user=SCRIPT)).text

    assert SCRIPT not in html
    assert IMAGE not in html
    assert "is none of 24h" in unescape(html)
    assert "is not key:value" in unescape(html)


@pytest.mark.parametrize(
    "span",
    [("2026-13-01", "2026-01-01"), ("x", "y"), ("2026-11-20", "2026-11-01"), ("0001-01-01", "9999-12-31"), ("", "")],
)
async def test_a_span_that_is_none_is_told(site: Site, span: tuple[str, str]) -> None:
    """Days that do not exist, or the wrong way round, are told, and the last 30 days are shown."""
    answer = await site.get("", range="custom", **{"from": span[0], "to": span[1]})

    assert answer.status_code == 200
    assert "The last 30 days are shown." in answer.text


async def test_rows_lead_to_calls_and_sessions(site: Site, desk: Path) -> None:
    """A bar leads to its calls, a call to its parts, which add up to its cost, and to its session."""
    chart = (await site.get("/panel/cost_by_time", range="7d")).text
    href = unescape(re.findall(r'<a href="([^"]+)" tabindex', chart)[0])
    listed = await site.datasette.client.get(href)
    call = unescape(re.findall(r'href="(/-/claudetrace/call/[^"]+)"', listed.text)[0])
    shown = (await site.datasette.client.get(call)).text
    id_ = re.findall(r"/call/([^?]+)", call)[0]
    ((cost, session),) = asked(desk, "SELECT cost_picousd, session_id FROM calls WHERE id = :id", id=id_)

    assert listed.status_code == 200
    assert picousd(amounts(shown)[0]) == cost
    assert f"session={session}" in unescape(shown)


async def test_older_calls_follow(site: Site, desk: Path) -> None:
    """Page after page of the list of calls gives each call of the range once."""
    today = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"
    sql = "SELECT id FROM calls WHERE SUBSTR(started_at, 1, 10) = :day ORDER BY started_at DESC, id DESC"
    wanted = [id_ for (id_,) in asked(desk, sql, day=today)]
    url, seen = f"/-/claudetrace/calls?range=custom&from={today}&to={today}", []
    while url:
        html = (await site.datasette.client.get(url)).text
        seen += re.findall(r'<td class="time"><a href="/-/claudetrace/call/([^?"]+)', html)
        older = re.findall(r'<a href="([^"]+)" class="">Older', html)
        url = unescape(older[0]) if older else ""

    assert len(wanted) > 60
    assert seen == wanted


async def test_unknown_pages_calls_and_panels(site: Site) -> None:
    """What there is not answers 404 in words."""
    assert [(await site.get(path)).status_code for path in ("/nothing", "/call/nothing", "/panel/nothing")] == [404] * 3
    assert "no call “nothing”" in (await site.get("/call/nothing")).text


async def test_the_static_files_are_ours(site: Site) -> None:
    """The style sheet and the script are served with their kinds; nothing beside them is."""
    html = (await site.get("")).text
    kinds = {}
    for url in re.findall(r'(?:href|src)="(/-/claudetrace/static/[^"]+)"', html):
        answer = await site.datasette.client.get(url)
        kinds[url.rpartition(".")[2].partition("?")[0]] = (answer.status_code, answer.headers["content-type"])

    assert kinds["css"] == (200, "text/css; charset=utf-8")
    assert kinds["js"] == (200, "text/javascript; charset=utf-8")
    assert (await site.get("/static/..%2f__init__.py")).status_code != 200
    assert (await site.get("/static/plugin.py")).status_code == 404


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


async def test_a_ledger_of_another_version(tmp_path: Path) -> None:
    """An older and a newer ledger are each named with the way out."""
    path = write(tmp_path / "ledger.db", [plain_row(10**18)])
    told = {}
    for version in (1, 99):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        told[version] = (await Site(path).get("")).text

    assert "claudetrace report --db" in told[1]
    assert "Upgrade claudetrace" in told[99]


async def test_a_damaged_ledger(tmp_path: Path, desk: Path) -> None:
    """A file that is no database, and one with a damaged page, give a page that says so."""
    path = Path(shutil.copy(desk, tmp_path / "ledger.db"))
    site = Site(path)
    await site.datasette.invoke_startup()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(4096 * 400))
    damaged = await site.get("")
    path.write_bytes(b"no database at all " * 500)
    none = await site.get("")

    assert damaged.status_code in (200, 503)
    assert "damaged" in damaged.text
    assert "is-failed" in damaged.text or not amounts(damaged.text)
    assert "damaged" in none.text
    assert not amounts(none.text)


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
    statement = _rows.call("")._replace(sql=endless, parameters={})
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
