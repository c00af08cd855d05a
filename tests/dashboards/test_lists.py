"""The list of calls has the calls that plain SQL finds, in its order, for each thing that a link can ask for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest

from ._made import amounts, asked, picousd
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


COUNTED = """
    SELECT COUNT(*), COUNT(DISTINCT call_id), COALESCE(SUM(spend_picousd), 0)
    FROM calls
    WHERE {} AND started_at >= :begin AND started_at < :end
"""
TOKENS = " + ".join(
    f"COALESCE({kind}_tokens, 0)" for kind in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
)
SORTS = {"cost": "cost_picousd", "tokens": TOKENS, "took": "duration_ms"}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_matches_is_counted(desk: Path, site: Site, kind: str) -> None:
    """The number of responses and what they cost, above the list, equal plain SQL for each kind of call."""
    today = datetime.now(UTC)
    first, last = f"{today - timedelta(days=30):%Y-%m-%d}", f"{today - timedelta(days=3):%Y-%m-%d}"
    end = f"{today - timedelta(days=2):%Y-%m-%d}"
    for what in OF_WHAT:
        sql = COUNTED.format(f"{KINDS[kind]} AND {OF_WHAT[what]}")
        ((responses, calls, spend),) = asked(desk, sql, begin=first, end=end)
        url = "&".join(filter(None, (f"/panel/calls?page=calls&range=custom&from={first}&to={last}", what, kind)))
        html = (await site.datasette.client.get(f"/-/claudetrace{url}")).text
        if not responses:
            assert "No such call" in html
            continue

        assert f'data-responses="{responses}"' in html, url
        assert picousd(amounts(html)[0]) == spend, url
        assert (f"of {calls:,} calls" in html) == (calls != responses), url


@pytest.mark.parametrize("sort", SORTS)
async def test_a_sorted_list_is_whole(desk: Path, site: Site, sort: str) -> None:
    """Sorted by cost, tokens or duration, page for page, each matching call comes once, in the order of plain SQL."""
    today = datetime.now(UTC)
    sql = f"""
        SELECT id FROM calls WHERE model = 'claude-opus-5-5' AND outcome = 'ok' AND started_at >= :begin
        ORDER BY {SORTS[sort]} DESC NULLS LAST, started_at DESC, id DESC LIMIT 130
    """
    wanted = [id_ for (id_,) in asked(desk, sql, begin=f"{today - timedelta(days=6):%Y-%m-%d}")]
    url, seen = f"/-/claudetrace/panel/calls?page=calls&range=7d&model=claude-opus-5-5&outcome=ok&sort={sort}", []
    for _ in range(3):
        html = (await site.datasette.client.get(url)).text
        seen += re.findall(r'<td class="time"><a href="/-/claudetrace/call/([^?"]+)', html)
        url = unescape((re.findall(r'<a href="([^"]+)" class="">More', html) or [""])[0])
        if not url:
            break
        url = url.replace("/calls?", "/panel/calls?page=calls&")

    assert len(wanted) > 60
    assert seen[: len(wanted)] == wanted[: len(seen)]
    assert len(seen) == min(150, len(wanted)) or len(seen) >= 130


async def test_filters_of_the_list_stay(site: Site) -> None:
    """What the list is asked for stays in its links, its form and its chips, and is not taken to other pages."""
    html = unescape((await site.get("/calls", outcome="error", sort="cost", columns="model,trace", range="7d")).text)
    links = re.findall(r'href="/-/claudetrace/calls\?([^"]+)"', html)
    others = re.findall(r'href="/-/claudetrace/(?:cache|latency)\?([^"]+)"', html)
    chip = re.search(r'outcome: <b>error</b> <a href="([^"]+)"', html)

    assert chip
    assert "outcome" not in chip[1]
    assert "sort=cost&columns=model%2Ctrace" in chip[1]
    assert sum("outcome=error" in each and "sort=cost" in each for each in links) >= 6
    assert '<option value="error" selected>' in html
    assert '<input type="hidden" name="sort" value="cost">' in html
    assert others
    assert not any("outcome" in each for each in others)


async def test_columns_are_chosen(desk: Path, site: Site) -> None:
    """The columns that are asked for are shown, in that order, and lead to what they name."""
    answer = await site.datasette.client.get("/-/claudetrace/panel/calls?page=calls&columns=customer&columns=prompt")
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', answer.text, re.DOTALL)
    ((customer,),) = asked(desk, "SELECT customer FROM calls WHERE customer IS NOT NULL ORDER BY id DESC LIMIT 1")

    assert [re.sub("<[^>]+>", "", head).strip(" ↓") for head in heads] == ["Time", "Customer", "Prompt"]
    assert f"tag=customer%3A{quote(customer, safe='')}" in answer.text
