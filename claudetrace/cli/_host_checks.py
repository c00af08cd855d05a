"""What `doctor` tells of hosts: which ones calls were billed for, and which ones answered twice with one id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from claudetrace._hosts import is_platform
from claudetrace._ledger._times import stamp
from claudetrace.cli._options import calls_text
from claudetrace.cli._tables import Check, plain, usd_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

MOST_HOSTS = 20
DIGITS = 4
RECENT = timedelta(days=7)
BILLED_HOSTS = """
    SELECT server_address, COUNT(*), TOTAL(spend_picousd) / 1e12 AS spend_usd
    FROM calls
    WHERE spend_picousd > 0 AND server_address <> ''
    GROUP BY server_address
    ORDER BY spend_usd DESC
"""
BILLED_TWICE = """
    SELECT server_address, SUM(answers - 1)
    FROM (
        SELECT MAX(server_address) AS server_address, COUNT(*) AS answers
        FROM calls
        WHERE message_id IS NOT NULL AND spend_picousd > 0 AND started_at >= ?
        GROUP BY message_id
        HAVING COUNT(*) > 1
    )
    GROUP BY server_address
    ORDER BY 2 DESC
"""


def check_hosts(connection: sqlite3.Connection) -> Iterator[Check]:
    """The hosts that spend was counted for, the platforms' own apart from others, and what looks like a replay."""
    known: list[str] = []
    others: list[str] = []
    for host, calls, spend_usd in connection.execute(BILLED_HOSTS):
        to = known if is_platform(host) else others
        to.append(f"{plain(host)} ({calls_text(calls)}, {usd_text(Decimal(spend_usd), DIGITS)})")
    yield Check("hosts of platforms", _listed(known))
    if others:
        yield Check("other hosts", f"{_listed(others)}; what one of them is, [hosts] in claudetrace.toml may say")
    since = stamp(datetime.now(UTC) - RECENT)
    for host, answers in connection.execute(BILLED_TWICE, (since,)):
        way_out = (
            f"{plain(host)} gave answers in the last {RECENT.days} days whose id was billed before; if it replays them "
            f'from a cache, write "{plain(host)}" = "replays" under [hosts] in claudetrace.toml'
        )
        yield Check("answers that came twice", f"{answers:,}", way_out)


def _listed(hosts: list[str]) -> str:
    more = len(hosts) - MOST_HOSTS
    return ", ".join(hosts[:MOST_HOSTS]) + (f" and {more} more" if more > 0 else "") if hosts else "none"
