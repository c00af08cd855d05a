"""Ledgers for the pages' tests: weeks of a help desk, and names that would run as script."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from claudetrace._demo._history import history
from claudetrace._guard import Guard
from claudetrace._ids import utc_text, uuid7
from claudetrace._ledger._store import Store
from claudetrace._pricing._row import with_price

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = '"><img src=x onerror=window.hacked=2>'
HOSTILE = {
    "model": f"claude-{IMAGE}",
    "feature": f"rerank{SCRIPT}",
    "user_id": f"u{IMAGE}",
    "session_id": "s/../?a=1&b='\"<svg onload=window.hacked=3>",
    "customer": "javascript:window.hacked=4",
    "prompt": "</title></style><script>window.hacked=5</script>",
    "error_type": f"Boom{IMAGE}",
    "tags": json.dumps({f"team{IMAGE}": SCRIPT, "link": "javascript:alert(1)", "sum": "=1+1"}),
}
"""Values as an attacker would choose them, for every column that comes from outside."""


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Stores the rows, priced, in the ledger at `path`."""
    store = Store(path, Guard())
    for start in range(0, len(rows), 1000):
        store.write([with_price(row) for row in rows[start : start + 1000]])
    store.close()
    return path


def help_desk(days: int = 40) -> list[dict[str, Any]]:
    """The calls of a help desk up to now."""
    return list(history(datetime.now(UTC), "tests", days))


def hostile_rows() -> list[dict[str, Any]]:
    """A call that answered and one that failed, with hostile names throughout."""
    at = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1e9)
    answered = {
        **plain_row(at),
        **{name: value for name, value in HOSTILE.items() if name != "error_type"},
        "stop_reason": f"end{IMAGE}",
        "usage": json.dumps({"input_tokens": 5, "output_tokens": 6, SCRIPT: IMAGE}),
    }
    failed = {**plain_row(at + 10**9), **HOSTILE, "outcome": "error", "stop_reason": None, "usage": None}
    return [answered, {name: value for name, value in failed.items() if value is not None}]


def plain_row(at_ns: int) -> dict[str, Any]:
    """An answered call of that moment."""
    id_ = uuid7(at_ns)
    return {
        "id": id_,
        "call_id": id_,
        "started_at": utc_text(at_ns),
        "duration_ms": 812.5,
        "source": "anthropic",
        "operation": "messages.create",
        "platform": "anthropic",
        "server_address": "api.anthropic.com",
        "streamed": 0,
        "model_requested": "claude-sonnet-5-5",
        "model": "claude-sonnet-5-5",
        "outcome": "ok",
        "stop_reason": "end_turn",
        "http_status": 200,
        "retries": 0,
        "usage": json.dumps({"input_tokens": 1000, "output_tokens": 200}),
        "usage_is_final": 1,
    }


def asked(path: Path, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    """What SQL of the test's own finds in the ledger."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def amounts(html: str) -> list[str]:
    """The exact dollars on a page, in their order."""
    return re.findall(r'<data class="usd" value="([^"]+)"', html)


def picousd(usd: str) -> int:
    """Exact dollars as picodollars."""
    whole, _, rest = usd.lstrip("-").partition(".")
    return (-1 if usd.startswith("-") else 1) * (int(whole) * 10**12 + int(rest.ljust(12, "0")))
