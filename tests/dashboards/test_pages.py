"""The pages, through Datasette's own test client: their figures, their manners, and what they say of trouble."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import anthropic
import pytest
from claudetrace_dashboards._copies import Copy
from claudetrace_dashboards.queries import _readers

from claudetrace import Budget, instrument, tag
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

from ._made import HOSTILE, IMAGE, SCRIPT, amounts, asked, picousd, plain_row, write
from .conftest import Site

PAGES = (
    "",
    "/changed",
    "/statement",
    "/cost",
    "/cache",
    "/latency",
    "/reliability",
    "/sessions",
    "/session",
    "/calls",
    "/budgets",
)
SUMS = """
    SELECT
        COUNT(DISTINCT call_id),
        COALESCE(SUM(spend_picousd), 0),
        COUNT(*) FILTER (WHERE cost_picousd IS NULL),
        COALESCE(SUM(cache_saved_picousd), 0)
    FROM calls
    WHERE started_at >= :since AND started_at < :until
"""


def thirty_days() -> tuple[str, str]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{today - timedelta(days=29):%Y-%m-%dT%H}", f"{today + timedelta(days=1):%Y-%m-%dT%H}"


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


async def test_what_no_sum_has_is_read_from_the_calls(site: Site, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a filter leaves to single calls loads after the page; where they are too many the panel says what to narrow,
    and its file has all of it."""
    monkeypatch.setattr(_readers, "LATE_CALLS", 0)
    customer = {"tag": "customer:acme"}
    page = (await site.get("/reliability", **customer)).text
    panel = (await site.get("/panel/stop_reasons", **customer)).text
    monkeypatch.setattr(_readers, "MOST_CALLS", 5)
    narrow = (await site.get("/panel/stop_reasons", **customer)).text
    rows = (await site.get("/data/stop_reasons.json", **customer)).json()["rows"]
    since, until = thirty_days()
    sql = (
        "SELECT COUNT(*) FROM calls WHERE customer = 'acme' AND outcome = 'ok' AND started_at >= :s AND started_at < :u"
    )

    assert 'id="stop_reasons"' in page.partition("is-loading")[2]
    assert ("is-ok" in panel, "is-narrow" in narrow, "Show the last" in narrow) == (True, True, True)
    assert sum(row["responses"] for row in rows) == asked(desk, sql, s=since, u=until)[0][0]


async def test_what_is_copied_is_limited(site: Site, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of a tag are copied to memory for all panels, and more of them than a panel reads are not, even where it
    asks for few of them."""
    copied: list[Copy] = []
    fill = Copy.fill
    monkeypatch.setattr(Copy, "fill", lambda copy: copied.append(copy) or fill(copy))
    monkeypatch.setattr(_readers, "LATE_CALLS", 0)
    few = [(await site.get(f"/panel/{name}", tag="customer:acme")).text for name in ("stop_reasons", "failures")]
    made = len(copied)
    sql = "SELECT COUNT(*) FROM calls WHERE customer = 'acme' AND started_at >= :s AND started_at < :u"
    since, until = thirty_days()
    monkeypatch.setattr(_readers, "MOST_CALLS", asked(desk, sql, s=since, u=until)[0][0] - 1)
    one = (await site.get("/panel/failures", tag="customer:acme", range="90d")).text

    assert [made, len(copied)] == [1, 1]
    assert all("is-ok" in each for each in (*few, one))


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
    assert markup.scripts == html.count('<script src="/-/claudetrace/static/')


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


async def test_the_form_keeps_what_it_does_not_show(site: Site, desk: Path) -> None:
    """Without script too, the hours of a range and what is none stay when another filter is chosen."""
    day = f"{datetime.now(UTC) - timedelta(days=9):%Y-%m-%d}"
    html = (await site.get("", range="custom", no_feature="1", **{"from": f"{day}T05", "to": f"{day}T16"})).text
    form = html[html.index('<form class="filters"') : html.index("</form>", html.index('<form class="filters"'))]
    found = re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', form)
    await site.datasette.invoke_startup()
    other = (await site.datasette.client.get("/-/claudetrace", params=[*found, ("platform", "anthropic")])).text
    chosen = [(name, "2026-01-02" if name in ("first", "last") else value) for name, value in found]
    days = (await site.datasette.client.get("/-/claudetrace", params=[("range", "days"), *chosen])).text

    assert f"{day} 05:00 to {day} 17:00 UTC" in other
    assert "2026-01-02 UTC" in days
    for each in (other, days):
        assert 'aria-label="Remove the filter feature"' in each


async def test_rows_lead_to_calls_and_sessions(site: Site, desk: Path) -> None:
    """A bar leads to what changed on its day, that to its calls, a call to its parts, which add up to its cost, and to
    its session."""
    chart = (await site.get("/panel/cost_by_time", range="7d")).text
    changed = await site.datasette.client.get(unescape(re.findall(r'<a href="([^"]+)" tabindex', chart)[0]))
    href = unescape(re.findall(r'<a href="([^"]+)" class="">Now</a>', changed.text)[0])
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


@pytest.fixture
def budgeted(tmp_path: Path, client: anthropic.Anthropic, server: PlayServer) -> Path:
    """A ledger beside a store of budgets, of which one is for a month and all calls."""
    budgets = [Budget("a-day", usd=5, per="day"), Budget("a-part", usd=6, tags={"user": "u"}), Budget("all", usd=42)]
    path = tmp_path / "ledger.db"
    server.add(_answers.answer())
    with instrument(db=path, budgets=budgets, force=True) as meter:
        client.messages.create(model="claude-sonnet-5-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
        meter.flush()
    return path


async def test_the_burn_down_is_against_the_budget(budgeted: Path) -> None:
    """The burn-down is against the monthly budget of all calls in the ledger's store, with what is spent of it."""
    html = (await Site(budgeted).get("/panel/budget")).text
    ((spent,),) = asked(budgeted, "SELECT SUM(spend_picousd) FROM calls")

    assert [picousd(usd) for usd in amounts(html)[:2]] == [spent, 42 * 10**12]
    assert "spent (all)" in html
    assert "under no budget" not in html


async def test_calls_under_no_budget_are_a_share_with_the_reason(
    tmp_path: Path, client: anthropic.Anthropic, server: PlayServer
) -> None:
    """Where each customer has a budget, three calls of four that name none are 75 %."""
    path = tmp_path / "ledger.db"
    server.add(_answers.answer(times=None))
    ask = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with instrument(db=path, budgets=[Budget("each", usd=5, tags={"customer": "*"})], force=True) as meter:
        for tags in ({"customer": "acme"}, {}, {}, {}):
            with tag(**tags):
                client.messages.create(**ask)  # type: ignore[call-overload]
        meter.flush()
    html = (await Site(path).get("/panel/budget")).text

    assert "75% of the last 4 calls that cost something are under no budget: 3 without the tag customer." in html
