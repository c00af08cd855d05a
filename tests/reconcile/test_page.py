"""The page on the bill shows what the command found."""

from __future__ import annotations

import re
from decimal import Decimal

import claudetrace_dashboards
import pytest
from datasette.app import Datasette
from datasette.plugins import pm

from .test_bill import DAYS, calls


@pytest.fixture
def page(db):
    if not any(each is claudetrace_dashboards for each in pm.get_plugins()):
        pm.register(claudetrace_dashboards, "claudetrace_dashboards")

    async def get(name: str) -> str:
        datasette = Datasette([str(db)])
        await datasette.invoke_startup()
        answer = await datasette.client.get(f"/-/claudetrace/{name}?from=2026-11-18&to=2026-11-23")
        assert answer.status_code == 200
        return answer.text

    return get


async def test_the_page_has_the_gap_and_its_causes(organization, record, told, page):
    """Both lines, the capture rate, the gap and each cause are those of the command, to the picodollar."""
    seen = [*calls(95), *calls(30, day=1, model="claude-opus-4-8")]
    organization.served = [*seen, *calls(5)]
    organization.prices["claude-opus-4-8"] = ("5", "0.50", "6.25", "10", "27.5")
    organization.discount = Decimal("0.12")
    organization.alone[("2026-11-20", "code_execution")] = Decimal("101.5")
    record(*seen)
    found = told(*DAYS)

    html = await page("bill")

    shown = {Decimal(amount) for amount in re.findall(r'class="usd" value="([^"]+)"', html)}
    gap = {Decimal(usd) for usd in found["gap_usd"].values()}
    assert gap | {sum(gap)} <= shown
    assert f"{100 * found['capture_ratio']:.1f} %" in html
    assert "12.0 % below the list price" in html
    assert "Rates that differ" in html


async def test_a_ledger_that_was_never_reconciled(record, page):
    """The page says how to reconcile where nothing was."""
    record(*calls(1))

    assert "claudetrace reconcile" in await page("bill")


async def test_misses_of_the_cache_are_shown_by_cause(record, page):
    """The cache page has each cause with what it lost."""
    record(*calls(3, tokens=(1000, 0, 0, 0, 9)), cache_miss_reason="tools_changed", cache_missed_input_tokens=500)
    record(*calls(1, day=1), cache_miss_reason="unavailable")

    html = await page("cache")

    assert re.search(r"tools changed.*?>3<.*?1,500.*?" + re.escape('value="0.00405"'), html, re.DOTALL), html
    assert "unavailable" in html
