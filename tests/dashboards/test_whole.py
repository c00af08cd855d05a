"""What a page leaves out it says, and what CSV and JSON have is whole."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from claudetrace_dashboards import _rows

from claudetrace import Ledger
from claudetrace._ledger import _rollups

from ._made import amounts, asked, picousd, plain_row, write
from .conftest import Site

NOW = datetime.now(UTC)
YESTERDAY_NS = int((NOW - timedelta(days=1)).replace(hour=3, minute=0, second=0, microsecond=0).timestamp()) * 10**9


def call(number: int, **columns: Any) -> dict[str, Any]:
    """The answered call of that number on the day before today; a later one cost more."""
    usage = json.dumps({"input_tokens": 1000 + number, "output_tokens": 0})
    return {**plain_row(YESTERDAY_NS + number * 10**9), "usage": usage, **columns}


def of_one_name(names: int, column: str) -> list[dict[str, Any]]:
    return [call(number, **{column: f"name-{number:04d}"}) for number in range(names)]


async def rows_of(site: Site, panel: str, **arguments: str) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """What the panel's CSV and JSON have."""
    text = (await site.get(f"/data/{panel}.csv", **arguments)).text
    told = (await site.get(f"/data/{panel}.json", **arguments)).json()
    return list(csv.DictReader(io.StringIO(text))), told["rows"]


@pytest.mark.parametrize(
    ("panel", "column", "shown"),
    [
        ("cost_by_customer", "customer", 50),
        ("cost_by_user", "user_id", 50),
        ("cost_by_feature", "feature", 200),
        ("cost_by_model", "model", 200),
        ("cache_by_prompt", "prompt", 50),
        ("sessions", "session_id", 20),
        ("dearest_sessions", "session_id", 20),
        ("unpriced", "feature", 100),
    ],
)
async def test_exports_are_whole(tmp_path: Path, panel: str, column: str, shown: int) -> None:
    """CSV and JSON have each value, of which the page shows the first, and says so."""
    rows = of_one_name(shown + 11, column)
    if panel == "unpriced":
        rows = [{**row, "model": "claude-of-nobody"} for row in rows]
    site = Site(write(tmp_path / "ledger.db", rows))
    html = (await site.get(f"/panel/{panel}")).text
    lines, found = await rows_of(site, panel)

    assert len(lines) == len(found) == shown + 11
    assert f"The first {shown}; CSV and JSON have all." in html
    assert html.count("name-") <= 3 * shown


async def test_what_is_whole_says_nothing(tmp_path: Path) -> None:
    """Where the page shows all there is, no panel says that there is more."""
    site = Site(write(tmp_path / "ledger.db", of_one_name(50, "customer")))

    assert "The first" not in (await site.get("")).text


async def test_each_call_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces the calls are asked in, the export has each of them once, newest first."""
    monkeypatch.setattr(_rows, "EXPORT_ROWS", 7)
    monkeypatch.setattr("claudetrace_dashboards._export.EXPORT_ROWS", 7)
    # Some of the same moment, so that a piece ends between them.
    rows = [{**call(number), "started_at": call(number // 3)["started_at"]} for number in range(50)]
    path = write(tmp_path / "ledger.db", rows)
    lines, found = await rows_of(Site(path), "calls")

    wanted = [id_ for (id_,) in asked(path, "SELECT id FROM calls ORDER BY started_at DESC, id DESC")]
    assert [line["id"] for line in lines] == [row["id"] for row in found] == wanted


async def test_a_long_session_is_a_lower_bound(tmp_path: Path) -> None:
    """Of a session with more than 1,000 calls the page shows the first, as at least, and the export has all."""
    path = write(tmp_path / "ledger.db", [call(number, session_id="s") for number in range(1007)])
    site = Site(path)
    html = (await site.get("/panel/session_figures", session="s")).text
    lines, _ = await rows_of(site, "session_timeline", session="s")

    assert "≥ " in html
    assert "The first 1,000" in html
    assert len(lines) == 1007
    ((whole,),) = asked(path, "SELECT SUM(cost_picousd) FROM calls")
    assert int(lines[-1]["running_picousd"]) == whole


async def test_bars_are_as_long_as_their_figures(tmp_path: Path) -> None:
    """Beyond the thousand rows of feature and model that are asked for, a bar's parts still add up to its cost."""
    rows = [
        call(number, feature="wide" if number % 2 else f"f{number % 5}", model=f"claude-sonnet-5-5-{number:04d}")
        for number in range(1300)
    ]
    priced = [
        {**row, "cost_picousd": 10**9 * (1 + n), "cost_parts": "[]", "cost_flags": "[]"} for n, row in enumerate(rows)
    ]
    site = Site(write(tmp_path / "ledger.db", priced))
    html = (await site.get("/panel/cost_by_feature")).text

    bars = [
        max(float(x) + float(width) for x, width in re.findall(r'<rect [^>]*x="([\d.]+)%" width="([\d.]+)%"', bar))
        for bar in re.findall(r'<svg class="bar".*?</svg>', html, re.DOTALL)
    ]
    body = html.partition("<tfoot>")[0]
    costs = [picousd(usd) for usd in re.findall(r'<data class="usd" value="([^"]+)"[^>]*>[^<]*</data></td></tr>', body)]
    assert len(costs) == 6
    assert "further models" in html
    assert bars == pytest.approx([100 * cost / max(costs) for cost in costs], abs=0.5)


@pytest.fixture
def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three customers are named a day, one of them is called (other), and further ones came after them."""
    monkeypatch.setattr(_rollups, "MAX_VALUES_A_DAY", 3)
    names = ("(other)", "acme", "globex", "late", "later", "acme", "(other)")
    first = [call(number, customer=name) for number, name in enumerate(names)]
    day_before = [{**row, "id": f"b{row['id']}", "call_id": f"b{row['id']}"} for row in (call(9, customer="late"),)]
    at = (NOW - timedelta(days=2)).strftime("%Y-%m-%dT05:00:00.000Z")
    return write(tmp_path / "ledger.db", [*first, *({**row, "started_at": at} for row in day_before)])


async def test_others_are_no_value(crowded: Path) -> None:
    """What is counted together has no link; a value that is called (other) has one, which leads to its calls alone."""
    site = Site(crowded)
    html = unescape((await site.get("/panel/cost_by_customer")).text)
    links = dict(re.findall(r'<a href="([^"]+)" class="">([^<]+)</a>', html))
    names = list(links.values())
    ((spend,),) = asked(crowded, "SELECT SUM(spend_picousd) FROM calls WHERE customer = '(other)'")
    url = next(href for href, name in links.items() if name == "(other)")
    narrowed = (await site.datasette.client.get(url)).text

    assert names.count("(other)") == 1
    assert html.count("(other)</") == 2
    assert picousd(amounts(narrowed)[0]) == spend


async def test_what_may_be_too_low_is_marked(crowded: Path) -> None:
    """A customer with calls among the others is at least what is shown, with the reason; others are exact."""
    site = Site(crowded)
    html = (await site.get("/panel/cost_by_customer")).text
    figures = {
        name: "≥" in figure
        for name, figure in re.findall(
            r'<td class="wide"><(?:a|span)[^>]*>([^<]+)<.*?<td class="number"><data class="usd"[^>]*>([^<]+)',
            html,
            re.DOTALL,
        )
    }
    _, rows = await rows_of(site, "cost_by_customer")

    assert {name for name, marked in figures.items() if marked} == {"late"}
    assert "more than 1,000 values" in html
    assert {row["value"]: row["too_low"] for row in rows if not row["others"]} == {
        "(other)": 0, "acme": 0, "globex": 0, "late": 1,
    }  # fmt: skip


async def test_a_customer_among_the_others_is_exact_alone(crowded: Path) -> None:
    """Filtered by a customer who came after the named ones, the figures are those of the customer's calls."""
    html = (await Site(crowded).get("/panel/kpi", tag="customer:late")).text
    ((spend,),) = asked(crowded, "SELECT SUM(spend_picousd) FROM calls WHERE customer = 'late'")

    assert picousd(amounts(html)[0]) == spend
    assert "≥" not in html


async def test_a_batch_is_one_call_of_many_responses(tmp_path: Path) -> None:
    """A batch's results are one call on every page and in the report; failures are a share of the responses."""
    results = [
        {
            **call(number, operation="messages.batches.result", session_id="s", custom_id=f"c{number}", batch_id="b"),
            **({"outcome": "error", "error_type": "api_error", "usage": None, "cost_picousd": 0} if number > 5 else {}),
        }
        for number in range(10)
    ]
    for row in results:
        row["call_id"] = results[0]["id"]
    path = write(tmp_path / "ledger.db", [{k: v for k, v in row.items() if v is not None} for row in results])
    site = Site(path)
    kpi = (await site.get("/panel/kpi")).text
    session = (await site.get("/panel/session_figures", session="s")).text
    sessions, _ = await rows_of(site, "sessions")
    reliability = (await site.get("/reliability")).text
    (total,) = Ledger(path).spend(by=None, since=None)

    assert (total.calls, total.responses) == (1, 10)
    assert [row["calls"] for row in sessions] == ["1"]
    assert ('<data value="1"' in kpi, "10 responses" in kpi, "40.0 %" in kpi) == (True, True, True)
    assert "10 responses" in session
    assert "40.0 % of 10 responses" in reliability


async def test_files_say_what_they_hold(tmp_path: Path) -> None:
    """A file bears its range in its name and is whole; with a limit its first line says how many of how many it has."""
    site = Site(write(tmp_path / "ledger.db", of_one_name(30, "customer")))
    day = f"{NOW - timedelta(days=1):%Y-%m-%d}"
    span = {"range": "custom", "from": day, "to": day}
    for panel, rows in (("calls", 30), ("cost_by_customer", 30), ("cost_by_model", 1)):
        whole = await site.get(f"/data/{panel}.csv", **span)
        some = await site.get(f"/data/{panel}.csv", **span, limit="7")
        told = (await site.get(f"/data/{panel}.json", **span, limit="7")).json()
        words = f"The first {min(7, rows)} of {rows} rows; without limit= the file has all."

        assert f'filename="claudetrace-{panel}-{day}-to-{day}.csv"' in whole.headers["content-disposition"]
        assert len(whole.text.splitlines()) == rows + 1
        assert some.text.splitlines()[0] == f"# {words}"
        assert some.text.splitlines()[1:] == whole.text.splitlines()[: 1 + min(7, rows)]
        assert (told["limited"], len(told["rows"])) == (words, min(7, rows))
    assert (await site.get("/data/calls.csv", limit="some")).status_code == 400
