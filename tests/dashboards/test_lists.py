"""The list of calls has the calls that plain SQL finds, in its order, for each thing that a link can ask for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from ._made import asked
from .conftest import Site

FROM_COSTS = """(cost_picousd IS NULL OR usage_is_final = 0 OR cost_flags LIKE '%"retried_after_timeout"%')"""
KINDS = {
    "only=inexact": FROM_COSTS,
    "only=unpriced": "cost_picousd IS NULL",
    "only=cut": "outcome IN ('incomplete', 'cancelled')",
    "only=retried": "retries > 0",
    "only=cache_writes": "COALESCE(cache_write_5m_tokens, 0) + COALESCE(cache_write_1h_tokens, 0) > 0",
    "outcome=error": "outcome = 'error'",
    "reason=max_tokens": "outcome = 'ok' AND stop_reason = 'max_tokens'",
    "reason=rate_limit_error&outcome=error": "outcome = 'error' AND error_type = 'rate_limit_error'",
    "": "TRUE",
}
OF_WHAT = {
    "": "TRUE",
    "model=claude-haiku-5-5": "model = 'claude-haiku-5-5'",
    "model=claude-sonnet-5-5&feature=chat": "model = 'claude-sonnet-5-5' AND feature = 'chat'",
    "no_feature=1": "COALESCE(feature, '') = ''",
    "platform=bedrock": "platform = 'bedrock'",
    "user=acme-01@example.com": "user_id = 'acme-01@example.com'",
    "tag=customer:acme": "customer = 'acme'",
    "tag=feature:chat": "feature = 'chat'",
    "tag=prompt:manual@v7&feature=manual": "prompt = 'manual@v7'",
    "tag=team:platform": "tags ->> 'team' = 'platform'",
    "tag=team:nobody": "FALSE",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_list_is_what_sql_finds(desk: Path, site: Site, kind: str) -> None:
    """Each kind of call, alone and of a model, a feature, a platform, a user or a tag, is listed whole and in order."""
    today = datetime.now(UTC)
    first, last = today - timedelta(days=30), today - timedelta(days=3)
    since, until = f"{first:%Y-%m-%dT05}", f"{last:%Y-%m-%dT07}"
    found = 0
    for what, day in product(OF_WHAT, (False, True)):
        span = (f"{first:%Y-%m-%d}T05", f"{last:%Y-%m-%d}T06") if day else (f"{first:%Y-%m-%d}", f"{last:%Y-%m-%d}")
        begin, end = (since, until) if day else (f"{first:%Y-%m-%d}", f"{last + timedelta(days=1):%Y-%m-%d}")
        where = f"{KINDS[kind]} AND {OF_WHAT[what]} AND started_at >= :begin AND started_at < :end"
        sql = f"SELECT id FROM calls WHERE {where} ORDER BY started_at DESC, id DESC"
        wanted = [id_ for (id_,) in asked(desk, sql, begin=begin, end=end)]
        url = "&".join(filter(None, (f"/data/calls.json?range=custom&from={span[0]}&to={span[1]}", what, kind)))
        answer = await site.datasette.client.get(f"/-/claudetrace{url}")

        assert [row["id"] for row in answer.json()["rows"]] == wanted, url
        found += len(wanted)
    assert found
