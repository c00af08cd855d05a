"""The ledger held against a loopback Anthropic that was fed by the same calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from click.testing import CliRunner, Result

from claudetrace.cli import main

from ._organization import Served

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = ("--since", "2026-11-20", "--until", "2026-11-24")


def calls(count: int, day: int = 0, **what: object) -> list[Served]:
    return [Served(at=NOON + timedelta(days=day, minutes=n), **what) for n in range(count)]  # type: ignore[arg-type]


def test_equal_calls_have_no_gap(organization, record, told):
    """What the ledger saw whole is captured whole, over pages, days, models, tiers and web searches."""
    organization.served = [
        *calls(20),
        *calls(20, day=1, model="claude-opus-4-8", tokens=(17, 5003, 401, 77, 333)),
        *calls(20, day=2, tier="batch", searches=2, model="claude-haiku-4-5-20251001"),
    ]
    record(*organization.served)

    found = told(*DAYS)

    assert (found["capture_ratio"], found["gap_usd"], found["discount"], found["exit_code"]) == (1, {}, 0, 0)
    assert len([path for path, _ in organization.asked if path.endswith("cost")]) > 1


def test_every_cause_is_named_to_the_cent(organization, record, told):
    """Hidden calls, a wrong rate, a discount, code execution, other programs by workspace and by key, and midnight are
    told apart, to the cent."""
    seen = [*calls(198), *calls(198, day=1, model="claude-opus-4-8")]
    hidden = [*calls(2), *calls(2, day=1, model="claude-opus-4-8")]
    other = calls(50, model="claude-haiku-4-5-20251001", workspace="wrkspc_2")
    shared = calls(30, key="apikey_2")
    late = [Served(at=datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), seconds=3)]
    organization.served = [*seen, *hidden, *other, *shared, *late]
    organization.prices["claude-opus-4-8"] = ("5", "0.50", "6.25", "10", "27.5")
    organization.discount = Decimal("0.12")
    organization.alone[("2026-11-20", "code_execution")] = Decimal("101.5")
    record(*seen, *late)

    found = told(*DAYS)

    assert {cause.partition(":")[0]: Decimal(usd) for cause, usd in found["gap_usd"].items()} == {
        "claude-sonnet-4-6, wrkspc_1": 32 * Decimal("0.0045"),
        "claude-opus-4-8, wrkspc_1": Decimal("0.0155"),
        "claude-haiku-4-5-20251001, wrkspc_2": Decimal("0.075"),
        "code execution": Decimal("1.015"),
        "rates that differ": 198 * 100 * Decimal("2.5") / 10**6,
    }
    assert [(each["kind"], each["ours_usd"], each["theirs_usd"]) for each in found["rates_that_differ"]] == [
        ("output_tokens", "25", "27.5")
    ]
    whole = Decimal("0.0045") * 231 + Decimal("0.00775") * 200 + Decimal("0.0015") * 50
    unseen = Decimal("0.0045") * 32 + Decimal("0.0155") + Decimal("0.075")
    assert found["capture_ratio"] == float(1 - unseen / whole)
    assert (found["our_requests"], found["their_requests"]) == (397, 481)
    assert found["keys"]["apikey_2"] == {"requests": 30, "list_usd": "0.135000000000"}
    assert found["midnight"] == {"calls": 1, "usd": "0.004500000000"}
    assert (round(found["discount"], 9), found["exit_code"]) == (0.12, 1)


def test_calls_around_midnight_are_of_the_day_of_anthropic(organization, record, told):
    """A day has what ended in it, as Anthropic's figures do, also what was asked on the day before."""
    before, after = (Served(at=datetime(2026, 11, day, 23, 59, 58, tzinfo=UTC), seconds=5) for day in (20, 21))
    before.model = "claude-opus-4-8"
    organization.served = [*calls(10, day=1), before, after]
    record(*organization.served)

    found = told("--day", "2026-11-21")

    assert (found["gap_usd"], found["capture_ratio"], found["our_requests"]) == ({}, 1, 11)
    assert found["midnight"] == {"calls": 2, "usd": "0.012000000000"}


def test_the_admin_api_where_that_is_all_there_is(organization, record, told):
    """An organization that has no analytics gets the Admin API, whose one amount tells the discount and the gap."""
    seen = [*calls(96), *calls(96, day=1, model="claude-opus-4-8", tokens=(900, 0, 500, 0, 70))]
    organization.served = [*seen, *calls(4)]
    organization.discount = Decimal("0.12")
    organization.refused_with = 400
    record(*seen)

    found = told(*DAYS)

    assert found["source"] == "Admin API, since the analytics API answered 400"
    assert (found["rates_that_differ"], round(found["discount"], 9)) == ([], 0.12)
    assert [Decimal(usd).quantize(Decimal("1e-9")) for usd in found["gap_usd"].values()] == [Decimal("0.018")]


def test_what_is_used_and_not_billed_is_no_gap(organization, record, told):
    """Refusals are in usage and not in cost: ours cost nothing, those of others are told, and no rate is blamed."""
    refused = calls(5, tokens=(1000, 0, 0, 0, 0), billed=False)
    organization.served = [*calls(50), *refused]
    record(*calls(50))
    record(*refused[:3], stop_reason="refusal", pricing_terms='{"platform":"anthropic","content_empty":true}')

    found = told(*DAYS)

    assert (found["capture_ratio"], found["gap_usd"], found["rates_that_differ"]) == (1, {}, [])
    assert (found["our_requests"], found["their_requests"], found["unbilled_tokens"]) == (53, 55, 5000)


def test_a_lower_rate_is_told_from_calls_that_are_not_billed(organization, record, told):
    """A rate that is too high here is found also where most calls are of another program, by its being the same each
    day."""
    seen = [*calls(5), *calls(7, day=1)]
    organization.served = [*seen, *calls(50), *calls(30, day=1)]
    organization.prices["claude-sonnet-4-6"] = ("3", "0.30", "3.75", "6", "12")
    record(*seen)

    found = told(*DAYS)

    assert [(each["kind"], each["ours_usd"], each["theirs_usd"]) for each in found["rates_that_differ"]] == [
        ("output_tokens", "15", "12")
    ]
    assert Decimal(found["gap_usd"]["rates that differ"]) == -12 * 100 * Decimal(3) / 10**6


def test_priority_and_subscriptions_are_told_apart(organization, record, told):
    """The priority tier is in no report of cost, and what a subscription pays is not looked for in it."""
    organization.served = [*calls(10), *calls(4, tier="priority")]
    record(*organization.served)
    record(*calls(3), billing="subscription")

    found = told(*DAYS)

    assert found["gap_usd"] == {"priority tier: in no report of cost": "-0.018000000000"}
    assert found["capture_ratio"] == 1


def test_a_day_is_judged_when_its_figures_are_there(organization, record, told):
    """A day that Anthropic had not finished when it last refreshed its figures is shown and counts for nothing."""
    organization.served = [*calls(10), *calls(10, day=1)]
    organization.refreshed_at = NOON + timedelta(days=1, minutes=5)
    record(*organization.served)

    found = told(*DAYS)

    assert (found["young_from"], found["capture_ratio"], found["gap_usd"]) == ("2026-11-21", 1, {})
    assert {cell["day"]: cell["judged"] for cell in found["cells"]} == {"2026-11-20": True, "2026-11-21": False}


def test_a_workspace_and_a_key_narrow_what_is_asked(organization, record, told):
    """A workspace narrows both sides, a key Anthropic's alone; below `at_least` that is a finding."""
    organization.served = [*calls(10), *calls(90, key="apikey_2"), *calls(50, workspace="wrkspc_2")]
    record(*calls(10), *calls(50, workspace="wrkspc_2"))

    ours = told(*DAYS, "--workspace-id", "wrkspc_1", "--api-key-id", "apikey_1")
    both = told(*DAYS, "--workspace-id", "wrkspc_1")
    whole = told(*DAYS)

    assert [(each["capture_ratio"], each["exit_code"]) for each in (ours, both, whole)] == [(1, 0), (0.1, 1), (0.4, 0)]


def test_an_answer_of_too_many_requests_is_waited_for(organization, record, told):
    """A 429 is asked again."""
    organization.served, organization.busy = calls(10), 2
    record(*calls(10))

    assert told(*DAYS)["capture_ratio"] == 1


def test_the_capture_rate_is_a_gauge(organization, record, told, monkeypatch):
    """The rate goes to the meter provider of the process, with what was asked for."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    organization.served = calls(10)
    record(*calls(9))

    told(*DAYS, "--workspace-id", "wrkspc_1")

    (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.data.data_points
    assert (metric.name, metric.unit, point.value) == ("claudetrace.reconcile.capture_ratio", "1", 0.9)
    assert point.attributes == {"claudetrace.reconcile.scope": "wrkspc_1"}


@pytest.fixture
def report(db):
    """`claudetrace report` on the ledger."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["report", *words, "--since", "2026-11-20", "--db", str(db)])

    return run


def test_what_is_billed_stands_beside_list(organization, record, told, report, tmp_path, monkeypatch):
    """The report takes the discount that was measured, or the one of the settings, and mixes it into nothing."""
    organization.served, organization.discount = calls(10), Decimal("0.12")
    record(*organization.served)
    record(*calls(5), platform="bedrock", pricing_terms='{"platform":"bedrock"}')
    unknown = report("--billed")
    told(*DAYS)
    measured = json.loads(report("--billed", "--json").stdout)["total"]
    settings = tmp_path / "settings.toml"
    settings.write_text("[reconcile]\ndiscount = 0.5\n")
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    said = report("--billed").output

    assert (unknown.exit_code, "claudetrace reconcile" in unknown.output) == (2, True)
    assert (Decimal(measured["cost_usd"]), Decimal(measured["billed_usd"])) == (Decimal("0.045"), Decimal("0.0396"))
    assert [each in said for each in ("list (USD)", "billed (USD)", "$0.0450", "$0.0225", "50.00 %")] == [True] * 5


def test_misses_of_the_cache_are_told_by_cause(record, report):
    """The report has what misses of the cache cost, by the API's own word, of the calls that it is of."""
    miss = {"cache_miss_reason": "tools_changed", "cache_missed_input_tokens": 500}
    record(*calls(3), **miss, feature="chat")
    record(*calls(2), **{**miss, "cache_miss_reason": "unavailable", "cache_missed_input_tokens": None})

    found = json.loads(report("--json", "--where", "feature=chat").stdout)["cache_misses"]

    assert found == [{"reason": "tools_changed", "responses": 3, "missed_tokens": 1500, "lost_usd": "0.004050000000"}]
    said = " ".join(report().output.split())
    assert "tools changed $0.004050 (3 responses), unavailable $0.000000 (2 responses)" in said
