"""Large amounts in a real browser: no figure is cut, at any width and in either scheme."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claudetrace import Budget, instrument
from tests.dashboards._made import plain_row, write

from .conftest import Tab, serve

# Picodollars: what $1,234,567.89 and its like are.
AMOUNT = "1234567.89"
AMOUNTS = (1_234_567_890_000_000_000, 98_765_432_100_000_000, 1_234_560_000_000_000, 999_990_000_000_000)
PAGES = ("", "/changed?range=7d", "/statement", "/cost", "/cache", "/sessions", "/calls", "/budgets",
         "/session?session=a-rather-long-name-of-number-0")  # fmt: skip
WIDTHS = (390, 720, 768, 1024, 1100, 1400)
CUT = """nodes => nodes.filter(node => {
    const box = node.getBoundingClientRect();
    const cell = node.closest('.ranking td, .scroll, .card').getBoundingClientRect();
    return box.width > 0 && (box.right > cell.right + 1 || box.left < cell.left - 1);
}).map(node => node.textContent)"""


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a ledger of large amounts is served, of which one is a lower bound."""
    at = int((datetime.now(UTC) - timedelta(hours=30)).timestamp() * 1e9)
    rows: list[dict[str, Any]] = []
    for number, amount in enumerate(AMOUNTS):
        name = f"a-rather-long-name-of-number-{number}"
        parts = [{"name": "input_tokens", "model": "m", "quantity": 1, "rate_picousd": amount, "picousd": amount}]
        rows.append(
            {
                **plain_row(at + number * 10**9),
                "feature": name,
                "customer": name,
                "user_id": name,
                "prompt": name,
                "session_id": name,
                "tags": json.dumps({"team": name}),
                "cost_picousd": amount,
                "cost_parts": json.dumps(parts),
                "cost_flags": "[]",
                "cache_saved_picousd": amount,
                "usage_is_final": int(number != 1),
            }
        )
    path = write(tmp_path_factory.mktemp("rich") / "ledger.db", rows)
    budgets = [Budget("all-of-the-company", usd="2345678.91"), Budget("each", usd=AMOUNT, tags={"customer": "*"})]
    with instrument(db=path, budgets=budgets, force=True) as meter:
        meter.flush()
    yield from serve(path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_amount_is_cut(open_tab: Callable[..., Tab], rich: str, scheme: str) -> None:
    """Every amount of every page that has amounts lies within its cell or card, and the page within its window."""
    tab = open_tab(1400, scheme, rich)
    for page in PAGES:
        tab.go(page)
        for width in WIDTHS:
            tab.page.set_viewport_size({"width": width, "height": 900})

            assert tab.page.locator("td .usd, .card .usd").evaluate_all(CUT) == [], (page, width)
            assert tab.overflow() == 0, (page, width)
