"""What changed and the statement: the page, its file and the command line have the figures of plain SQL."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from claudetrace.cli._main import main

from ._made import amounts, asked, picousd
from .conftest import Site

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = {"from": f"{TODAY - timedelta(days=8):%Y-%m-%d}", "to": f"{TODAY - timedelta(days=2):%Y-%m-%d}"}
VALUE = {"model": "model", "feature": "feature", "customer": "customer", "user": "user_id", "prompt": "prompt"}


async def rows_of(site: Site, panel: str, **arguments: str) -> list[dict[str, Any]]:
    answer = await site.get(f"/data/{panel}.json", **arguments)
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


def spent(desk: Path, by: str, since: datetime, until: datetime, where: str = "TRUE") -> dict[str, tuple[int, int]]:
    """The picodollars and calls of each value, by plain SQL."""
    sql = (
        f"SELECT COALESCE({by}, ''), COALESCE(SUM(spend_picousd), 0), COUNT(DISTINCT call_id) FROM calls "
        f"WHERE started_at >= :since AND started_at < :until AND {where} GROUP BY 1"
    )
    bounds = {"since": f"{since:%Y-%m-%dT%H}", "until": f"{until:%Y-%m-%dT%H}"}
    return {value: (cost, calls) for value, cost, calls in asked(desk, sql, **bounds)}


@pytest.mark.parametrize("by", VALUE)
@pytest.mark.parametrize(("against", "earlier"), [({}, 7), ({"against": "month"}, 28)])
async def test_what_changed_is_the_difference_of_two_periods(
    site: Site, desk: Path, by: str, against: dict[str, str], earlier: int
) -> None:
    """Each value has what it cost in both periods, and the causes add up to the difference."""
    since, until = TODAY - timedelta(days=8), TODAY - timedelta(days=1)
    shift = timedelta(days=earlier)
    now = spent(desk, VALUE[by], since, until, "platform = 'anthropic'")
    before = spent(desk, VALUE[by], since - shift, until - shift, "platform = 'anthropic'")
    rows = await rows_of(site, f"change_by_{by}", platform="anthropic", **DAYS, **against)

    shown = {
        row["value"]: (row["spend_picousd"], row["calls"], row["before_picousd"], row["calls_before"]) for row in rows
    }
    nothing = (0, 0)
    assert shown == {each: (*now.get(each, nothing), *before.get(each, nothing)) for each in now.keys() | before.keys()}
    for row in rows:
        causes = sum(row[f"{name}_picousd"] for name in ("volume", "tokens", "price", "cache"))
        assert causes == row["change_picousd"] == row["spend_picousd"] - row["before_picousd"]


async def test_the_page_the_file_and_the_command_agree(site: Site, desk: Path) -> None:
    """What changed by feature is the same in the panel, in its CSV and in `report --compare`."""
    told = ["report", "--by", "feature", "--since", DAYS["from"], "--until", f"{TODAY - timedelta(days=1):%Y-%m-%d}"]
    said = CliRunner().invoke(main, [*told, "--compare", "--json", "--db", str(desk)])
    command = {row["feature"] or "": row["change_usd"] for row in json.loads(said.stdout)["rows"]}
    page = await rows_of(site, "change_by_feature", **DAYS)
    text = (await site.get("/data/change_by_feature.csv", **DAYS)).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    file = {row["value"].lstrip("'"): row["change_usd"] for row in csv.DictReader(io.StringIO("\n".join(lines)))}

    assert {row["value"]: picousd(row["change_usd"]) for row in page} == {n: picousd(c) for n, c in command.items()}
    assert {name: picousd(change) for name, change in file.items()} == {n: picousd(c) for n, c in command.items()}


@pytest.mark.parametrize("split", ["", "feature", "feature,model"])
async def test_the_statement_adds_up(site: Site, desk: Path, split: str) -> None:
    """Each line is what plain SQL has of its customer and month, and all of them are the total of the months."""
    last = TODAY.replace(day=1)
    first = (last - timedelta(days=1)).replace(day=1)
    rows = await rows_of(site, "statement", range="30d" if TODAY.day < 30 else "90d", split=split)
    names = ["customer", *(name for name in split.split(",") if name)]
    keys = ", ".join(f"COALESCE({name}, '')" for name in names)
    sql = f"""
        SELECT SUBSTR(started_at, 1, 7), {keys}, COALESCE(SUM(spend_picousd), 0) FROM calls
        WHERE started_at >= :first GROUP BY {", ".join(str(place) for place in range(1, len(names) + 2))}
    """
    expected = {tuple(key): cost for *key, cost in asked(desk, sql, first=f"{first:%Y-%m}")}
    shown = {(row["month"], *(row[name] for name in names)): row["spend_picousd"] for row in rows}
    html = (await site.get("/panel/statement", range="30d" if TODAY.day < 30 else "90d", split=split)).text

    assert {key: cost for key, cost in shown.items() if key[0] >= f"{first:%Y-%m}"} == expected
    assert picousd(amounts(html)[-1]) == sum(shown.values())


async def test_two_clicks_from_the_first_page_to_a_file_of_customers(site: Site, desk: Path) -> None:
    """The first page leads to the statement by customer, feature and model, whose CSV sums up to the total."""
    await site.datasette.invoke_startup()
    months = {"range": "custom", "from": f"{TODAY - timedelta(days=35):%Y-%m}-01", "to": f"{TODAY:%Y-%m-%d}"}
    first = (await site.get("", **months)).text
    (statement,) = re.findall(r'<h2 id="top_customers-title"><a href="([^"]+)"', first)
    page = (await site.datasette.client.get(unescape(statement))).text
    (file,) = re.findall(r'<a href="([^"]+)" aria-label="Statement as CSV"', page)
    text = (await site.datasette.client.get(unescape(file))).text
    lines = list(csv.DictReader(io.StringIO(text)))
    ((total,),) = asked(desk, "SELECT SUM(spend_picousd) FROM calls WHERE started_at >= :first", first=months["from"])

    assert list(lines[0])[:4] == ["month", "customer", "feature", "model"]
    assert len({(row["month"], row["customer"], row["feature"], row["model"]) for row in lines}) == len(lines)
    assert sum(picousd(row["spend_usd"]) for row in lines) == total == picousd(amounts(page)[-1])


def ranks(desk: Path, value: str, since: datetime, until: datetime) -> dict[str, list[float]]:
    """Each model's values of what was measured of its answers, in their order, by plain SQL."""
    sql = (
        f"SELECT model, {value} FROM calls WHERE started_at >= :since AND started_at < :until AND outcome = 'ok' "
        f"AND output_tokens IS NOT NULL AND {value} IS NOT NULL ORDER BY 2"
    )
    found: dict[str, list[float]] = {}
    for model, each in asked(desk, sql, since=f"{since:%Y-%m-%dT%H}", until=f"{until:%Y-%m-%dT%H}"):
        found.setdefault(model, []).append(each)
    return found


@pytest.mark.parametrize("arguments", [DAYS, {"range": "7d"}])
@pytest.mark.parametrize(
    ("panel", "value", "percent"),
    [
        ("duration_by_model", "duration_ms", 95),
        ("first_token_by_model", "time_to_first_token_ms", 95),
        ("speed_by_model", "output_tokens * 1000.0 / response_ms", 50),
    ],
)
async def test_times_by_model_against_the_week_before(
    site: Site, desk: Path, panel: str, value: str, percent: int, arguments: dict[str, str]
) -> None:
    """Each model's percentile has its change against the same part of the week before, within 2.2 % of plain SQL."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    last = TODAY - timedelta(days=1) if "from" in arguments else now
    first = (last if "from" in arguments else TODAY + timedelta(days=1)) - timedelta(days=7)
    week = timedelta(days=7)
    before, after = ranks(desk, value, first - week, last - week), ranks(desk, value, first, last)
    html = (await site.get(f"/panel/{panel}", **arguments)).text
    cell = r'>(claude-[a-z0-9-]+)</a>(?:(?!</tr>).)*<data value="([^"]+)" class="[^>]*>([^<]+)</data>'
    cells = re.findall(cell, html, re.DOTALL)

    assert {model for model, _, _ in cells} == before.keys() & after.keys()
    assert len(cells) > 1
    for model, earlier, change in cells:
        then, today = (each[model][math.ceil(percent * len(each[model]) / 100) - 1] for each in (before, after))
        told = float(change.replace("−", "-").replace("±", "").rstrip(" %"))
        assert float(earlier) == pytest.approx(then, rel=0.022)
        assert 1 + told / 100 == pytest.approx(today / then, rel=0.046)
