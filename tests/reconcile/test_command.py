"""The command around the comparison: where the key comes from and goes, watching, and days that cannot be judged."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from click.testing import CliRunner

from claudetrace._ledger._prune import prune
from claudetrace.cli import _reconcile, main
from tests.alerts._receiver import Receiver

from ._organization import ADMIN_KEY, Api, Organization, Served
from .test_bill import DAYS, NOON, calls


def test_the_key_comes_from_a_descriptor_and_stays_nowhere(organization, record, db, api, tmp_path):
    """The key is read from a file descriptor, is in no file and no output, and goes to no gateway."""
    organization.served = calls(3)
    record(*calls(3))
    gateway = Organization()
    at_gateway = Api(gateway)
    reading, writing = os.pipe()
    os.write(writing, f"{ADMIN_KEY}\n".encode())
    os.close(writing)
    environment = {"ANTHROPIC_ADMIN_KEY": "", "ANTHROPIC_BASE_URL": at_gateway.url, "ANTHROPIC_API_KEY": "sk-other"}
    words = ["reconcile", *DAYS, "--db", str(db), "--base-url", api.url, "--key-fd", str(reading)]

    ran = CliRunner(env=environment).invoke(main, words)
    os.close(reading)
    at_gateway.close()

    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (ran.exit_code, gateway.asked, ADMIN_KEY in ran.output, ADMIN_KEY.encode() in kept) == (0, [], False, False)


@pytest.mark.parametrize(("status", "told"), [(401, "Admin keys"), (500, "status 500")])
def test_what_anthropic_refuses(organization, record, reconcile, monkeypatch, status, told):
    """A refusal is told with its status and the way out."""
    record(*calls(1))
    organization.broken_with = status
    monkeypatch.setattr("claudetrace._reconcile._fetch.RETRIES", 0)

    ran = reconcile(*DAYS)

    assert (ran.exit_code, told in ran.output) == (2, True)


def test_watching_asks_again_every_day(organization, record, reconcile, monkeypatch):
    """Late figures are taken in on the next day, and a day on which Anthropic does not answer is passed over."""
    organization.served = calls(6)
    record(*calls(10))
    days = iter(["late", "away", "back", "end"])

    def tomorrow() -> None:
        day = next(days)
        organization.served = calls(10)
        organization.broken_with = 409 if day == "away" else None
        if day == "end":
            raise KeyboardInterrupt

    monkeypatch.setattr(_reconcile, "_wait_for_tomorrow", tomorrow)
    monkeypatch.setattr("claudetrace._reconcile._fetch.RETRIES", 0)

    told = reconcile(*DAYS, "--watch").output

    assert re.findall(r"requests +(\d+) +(\d+)", told) == [("10", "6"), ("10", "10"), ("10", "10")]
    assert "status 409" in told


def test_pruned_days_are_not_judged(organization, record, told, db):
    """Days whose calls are pruned count for nothing and are named."""
    organization.served = [*calls(10), *calls(10, day=1)]
    record(*organization.served)
    prune(db, date(2026, 11, 21))

    found = told(*DAYS)

    assert ({cell["day"]: cell["judged"] for cell in found["cells"]}, found["capture_ratio"]) == (
        {"2026-11-20": False, "2026-11-21": True},
        1,
    )


def test_fast_answers_by_the_admin_api(organization, record, told):
    """The Admin API tells no cost by speed: answers of both speeds are held between their rates and blame none."""
    organization.refused_with = 404
    organization.served = [*calls(5, model="claude-opus-4-8"), *calls(5, model="claude-opus-4-8", speed="fast")]
    record(*organization.served)

    found = told(*DAYS)

    assert (found["rates_that_differ"], found["gap_usd"], found["capture_ratio"]) == ([], {}, 1)


def test_usage_alone_tells_what_was_seen_of_tokens(tmp_path, record, told):
    """With usage and no cost, the capture rate is of tokens and no dollars are compared."""
    at = datetime(2026, 11, 20, 12, tzinfo=UTC).isoformat()
    usage = {"uncached_input_tokens": 3000, "output_tokens": 300, "requests": 3}
    row = {"starting_at": at, "group": {"model": "claude-sonnet-4-6"}, "usage": usage}
    (tmp_path / "usage.json").write_text(json.dumps({"data": [row]}))
    record(*calls(2))

    found = told(*DAYS, "--from", tmp_path / "usage.json")

    assert (found["capture_ratio"], found["gap_usd"], found["discount"]) == (2 / 3, {}, None)


def test_own_prices_are_no_wrong_rate(organization, record, told):
    """Where the user has prices of their own, what differs from list is told as that, and is no finding."""
    organization.served = calls(4)
    record(*calls(4), pricing_terms=json.dumps({"platform": "anthropic", "own_rates": '{"discount":"0.5"}'}))

    found = told(*DAYS)

    assert (found["exit_code"], found["rates_that_differ"]) == (0, [])
    assert sum(map(Decimal, found["gap_usd"].values())) == Decimal("0.009")


def test_calls_without_a_price_are_seen(organization, record, told):
    """Calls of a model that no list has are in the ledger: their amount is told as that, and captured."""
    organization.prices["claude-unheard-of"] = ("9", "0.90", "11.25", "18", "45")
    organization.served = calls(4, model="claude-unheard-of")
    record(*organization.served)

    found = told(*DAYS)

    assert (found["capture_ratio"], [Decimal(usd) for usd in found["gap_usd"].values()]) == (1, [Decimal("0.054")])


def test_too_little_seen_of_a_workspace_is_an_alert(organization, record, told, tmp_path, monkeypatch):
    """Below `at_least` the channels of the settings get an alert with the share, where a workspace is named."""
    organization.served = calls(100)
    record(*calls(97))
    settings = tmp_path / "settings.toml"
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    with Receiver() as receiver:
        for at_least, workspaces in (("0.98", []), ("0.96", ["wrkspc_1"]), ("0.98", ["wrkspc_1"])):
            settings.write_text(
                f'alert_to = ["http://{receiver.at}/alerts"]\n'
                f"[reconcile]\nat_least = {at_least}\nworkspace_ids = {json.dumps(workspaces)}\n"
            )
            told(*DAYS)

    (got,) = receiver.got
    alert = json.loads(got.body)
    assert (alert["kind"], alert["key"], alert["threshold"]) == ("unseen", "wrkspc_1", 0.98)
    assert "97.00%" in alert["message"]
    assert "$0.0135" in alert["message"]


@pytest.mark.parametrize(
    "said", ["at_least = 2", 'discount = "12 %"', "workspaces = []", "discount = true", "discount = 1"]
)
def test_wrong_settings(record, reconcile, tmp_path, monkeypatch, said):
    """What `[reconcile]` cannot hold is refused with what it may hold."""
    record(*calls(1))
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[reconcile]\n{said}\n")
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))

    ran = reconcile(*DAYS)

    assert (ran.exit_code, "reconcile" in ran.output) == (2, True)


def test_what_is_told_fits_the_screen(organization, record, reconcile, monkeypatch):
    """With long ids, several workspaces and a rate that differs, no line is longer than 80 columns, and both rates, the
    model and the cause are told."""
    model, workspace = "claude-haiku-4-5-20251001", "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"
    seen = [
        Served(at=NOON, model=model, workspace=workspace, tokens=(17, 5003, 401, 77, 333), key="apikey_" + "x" * 24),
        *calls(30, day=1, model=model, workspace=workspace),
    ]
    organization.served = [*seen, *calls(3, day=1, model="claude-opus-4-8", workspace=workspace[::-1])]
    organization.prices[model] = ("1", "0.1", "1.25", "2", "5.5")
    organization.discount = Decimal("0.12")
    record(*seen)
    monkeypatch.setattr("claudetrace.cli._text.is_screen", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")

    for more in ((), ("--by", "workspace,model"), ("--workspace-id", workspace, "--api-key-id", "apikey_" + "x" * 24)):
        told = reconcile(*DAYS, *more).output

        assert max(map(len, told.splitlines())) <= 80, told
        assert "rates that differ" in told
    assert re.search(r"claude-haiku-4-5-20251\S+ +output +5 +5\.5 ", told)
