"""The budgets page: each budget as plain SQL over the calls has it, who was stopped, what was granted, who was told."""

from __future__ import annotations

import re
from contextlib import suppress
from html import unescape
from pathlib import Path

import anthropic
import pytest
from click.testing import CliRunner

from claudetrace import Budget, BudgetExceeded, instrument, tag
from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer
from claudetrace.cli._main import main

from ._made import amounts, asked, picousd, plain_row, write
from .conftest import Site

ASK = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
BUDGETS = (
    Budget("all", usd=42, thresholds=(0.5,)),
    Budget("each", usd="0.5", tags={"customer": "*"}),
    Budget("few", max_calls=2, per="total", tags={"feature": "trial"}, on_exceeded="block"),
)


@pytest.fixture
def budgeted(tmp_path: Path, client: anthropic.Anthropic, server: PlayServer) -> Path:
    """A ledger whose budgets have counted five calls and stopped three, and a channel that nobody listens to."""
    path = tmp_path / "ledger.db"
    server.add(_answers.answer(times=None))
    closed = "http://127.0.0.1:9/alerts"
    with instrument(db=path, budgets=BUDGETS, alert_to=[closed], force=True) as meter:
        for customer in ("acme", "acme", "globex"):
            with tag(customer=customer):
                client.messages.create(**ASK)  # type: ignore[call-overload]
        for _ in range(5):
            with tag(feature="trial", customer="initech"), suppress(BudgetExceeded):
                client.messages.create(**ASK)  # type: ignore[call-overload]
        meter.flush()
    granted = CliRunner().invoke(
        main, ["budgets", "grant", "each", "--key", "acme", "--usd", "1.25", "--why", "<b>sale</b>", "--db", str(path)]
    )
    assert granted.exit_code == 0, granted.output
    return path


def rows_of(html: str) -> dict[str, str]:
    """The row of each budget, by the name that it bears."""
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    rows = body.split("<tr>")[1:]
    return {re.findall(r"<a [^>]*>([^<]+)</a>", row)[0]: row for row in rows}


async def test_each_budget_is_what_its_calls_cost(budgeted: Path) -> None:
    """What is spent of each budget, and of each value of a tag, equals plain SQL over the calls; its link leads to
    exactly these calls."""
    site = Site(budgeted)
    rows = rows_of((await site.get("/panel/budgets")).text)
    wanted = {"all": "TRUE", **{name: f"customer = '{name}'" for name in ("acme", "globex", "initech")}}

    assert set(rows) == {*wanted, "few"}
    for name, condition in wanted.items():
        ((spent, number),) = asked(budgeted, f"SELECT SUM(spend_picousd), COUNT(*) FROM calls WHERE {condition}")
        assert picousd(amounts(rows[name])[0]) == spent, name
        url = unescape(re.findall(r'href="([^"]+)"', rows[name])[0]).replace("/calls?", "/data/calls.json?")
        assert len((await site.datasette.client.get(url)).json()["rows"]) == number
    assert "with <data" in rows["acme"]
    assert [usd for usd in amounts(rows["acme"]) if usd in ("1.75", "1.25")][:1] == ["1.75"]
    assert ">100 %<" in rows["few"]


async def test_who_is_stopped_is_one_click_away(budgeted: Path) -> None:
    """The stopped calls of a budget are counted as the ledger counts them, and the figure leads to them."""
    site = Site(budgeted)
    row = rows_of((await site.get("/panel/budgets")).text)["few"]
    ids = {id_ for (id_,) in asked(budgeted, "SELECT id FROM calls WHERE error_type = 'BudgetExceeded'")}
    url, number = re.findall(r'href="([^"]*reason=BudgetExceeded[^"]*)"[^>]*>(\d+)<', row)[0]
    found = (await site.datasette.client.get(unescape(url).replace("/calls?", "/data/calls.json?"))).json()["rows"]

    assert len(ids) == 3 == int(number)
    assert {each["id"] for each in found} == ids


async def test_alerts_channels_and_grants_are_those_of_the_store(budgeted: Path) -> None:
    """The last alerts, the channel that fails with its reason, and the grant with its reason are told, as text."""
    site = Site(budgeted)
    page = (await site.get("/budgets")).text

    assert "has stopped" in page
    assert "http://127.0.0.1#" in page
    assert "the connection was refused" in page
    assert "&lt;b&gt;sale&lt;/b&gt;" in page
    assert "<b>sale" not in page


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A ledger beside a file that is no store."""
    path = write(tmp_path / "ledger.db", [plain_row(1_700_000_000 * 10**9)])
    path.with_name("ledger.db.budgets").write_text("no store" * 999)
    return path


async def test_without_budgets_the_page_says_how_to_set_one(site: Site, broken: Path) -> None:
    """Where there is no store, the page says how to begin; where it cannot be read, that and why."""
    empty = await site.get("/budgets")
    answer = await Site(broken).get("/budgets")

    assert (empty.status_code, "instrument(budgets=[" in empty.text) == (200, True)
    assert (answer.status_code, "is-failed" in answer.text) == (200, True)
