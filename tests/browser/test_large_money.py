"""Large amounts in a real browser: no figure is cut, at any width and in either scheme."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.dashboards._made import plain_row, write

from .conftest import Tab, serve

# Picodollars: what $1,234,567.89 and its like are.
AMOUNTS = (1_234_567_890_000_000_000, 98_765_432_100_000_000, 1_234_560_000_000_000, 999_990_000_000_000)
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
    yield from serve(write(tmp_path_factory.mktemp("rich") / "ledger.db", rows))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 720, 1100, 1400])
def test_no_amount_is_cut(open_tab: Callable[..., Tab], rich: str, width: int, scheme: str) -> None:
    """Every amount of the cost and the cache page lies within its cell or card, and the page within its window."""
    tab = open_tab(width, scheme, rich)
    for page in ("", "/cost", "/cache", "/sessions", "/changed", "/statement"):
        tab.go(page)
        tab.shot(f"large{page.replace('/', '-')}-{width}-{scheme}")

        assert tab.page.locator("td .usd, .card .usd").evaluate_all(CUT) == []
        assert tab.overflow() == 0
