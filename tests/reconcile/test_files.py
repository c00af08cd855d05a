"""Figures that were saved: JSON of either API, and the CSV files of the Console, without a key."""

from __future__ import annotations

import urllib.request
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from click.testing import CliRunner

from claudetrace.cli import main

from ._organization import ADMIN_KEY, Served

GROUPS = {
    "analytics/usage": ("model", "workspace_id"),
    "analytics/cost": ("model", "workspace_id", "token_type", "cost_type"),
    "usage_report/messages": ("model", "workspace_id"),
    "cost_report": ("workspace_id", "description"),
}
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = ("--day", "2026-11-20")
COST_HEAD = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,"
    "inference_geo,speed"
)
COST = f"""{COST_HEAD}
2026-11-20,Claude Sonnet 4.6,Default,k,message,≤ 200k,input_no_cache,2.64,3.00,token,global,
2026-11-20,Claude Sonnet 4.6,Default,k,message,≤ 200k,output,13.20,15.00,token,global,
2026-11-20,Claude Sonnet 4.6,Default,k,batch,≤ 200k,output,0.66,0.75,token,global,
2026-11-20,,Default,k,message,,,0.05,0.05,code_execution,,
"""
USAGE_HEAD = (
    "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,"
    "usage_output_tokens,web_search_count,inference_geo,speed"
)
USAGE = f"""{USAGE_HEAD}
2026-11-20,claude-sonnet-4-6,k,Default,standard,≤ 200k,1000000,0,0,0,1000000,0,global,
2026-11-20,claude-sonnet-4-6,k,Default,batch,≤ 200k,0,0,0,0,100000,0,global,
"""


def test_csv_files_of_the_console(tmp_path, record, told):
    """The cost file alone tells the gap in dollars; with the usage file beside it, tokens are held together too."""
    (tmp_path / "cost.csv").write_text(COST)
    (tmp_path / "usage.csv").write_text(USAGE)
    record(Served(at=AT, tokens=(1000000, 0, 0, 0, 900000)), Served(at=AT, tokens=(0, 0, 0, 0, 100000), tier="batch"))

    cost = told(*DAY, "--from", tmp_path / "cost.csv")
    both = told(*DAY, "--from", tmp_path / "cost.csv", "--from", tmp_path / "usage.csv")

    for found in (cost, both):
        assert sorted(map(Decimal, found["gap_usd"].values())) == [Decimal("0.05"), Decimal("1.50")]
        assert round(found["capture_ratio"], 9) == 0.92
        assert found["exit_code"] == 0
    assert both["discount"] == float(1 - Decimal("16.55") / Decimal("18.80"))


@pytest.mark.parametrize("paths", [("analytics/usage", "analytics/cost"), ("usage_report/messages", "cost_report")])
def test_saved_answers(tmp_path, organization, api, record, told, paths):
    """An answer of either API that was saved is read as it came, without asking anybody."""
    organization.served = [Served(at=AT), Served(at=AT, model="claude-opus-4-8")]
    organization.page_rows = 100
    record(*organization.served[:1])
    words = []
    for number, path in enumerate(paths):
        group_by = "&".join(f"group_by[]={name}" for name in GROUPS[path])
        query = f"starting_at=2026-11-20T00:00:00Z&ending_at=2026-11-21T00:00:00Z&limit=31&{group_by}"
        width = "time_bucket_width" if "analytics" in path else "bucket_width"
        headers = {"x-api-key": ADMIN_KEY, "anthropic-beta": "analytics-usage-cost-2026-08-24"}
        request = urllib.request.Request(f"{api.url}/v1/organizations/{path}?{query}&{width}=1d", headers=headers)
        (tmp_path / f"{number}.json").write_bytes(urllib.request.urlopen(request).read())
        words += ["--from", tmp_path / f"{number}.json"]
    asked = len(organization.asked)

    found = told(*DAY, *words)

    assert found["capture_ratio"] == 0.375
    assert len(organization.asked) == asked


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "[1, 2]", "{}", '{"data": [{"starting_at": 1}]}', COST + "x"])
def test_what_is_no_figures(tmp_path, record, reconcile, content):
    """A file that holds something else is refused with what was expected."""
    record(Served(at=AT))
    (tmp_path / "file").write_text(content)

    ran = reconcile(*DAY, "--from", tmp_path / "file")

    assert (ran.exit_code, "figures" in ran.output) == (2, True)


def test_without_a_key(record, db):
    """Without a key the way out is told."""
    record(Served(at=AT))

    ran = CliRunner(env={"ANTHROPIC_ADMIN_KEY": ""}).invoke(main, ["reconcile", "--db", str(db)])

    assert (ran.exit_code, "--key-fd" in ran.output, "--from" in ran.output) == (2, True, True)
