"""A central ledger is a ledger: pages, reports, exports, `reprice` and `doctor` work on it, by service and host."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from _postgres import free_port
from click.testing import CliRunner

from claudetrace.cli import main

from .collecting import Collecting, body, wait_for
from .rows import row

# Each with its number of output tokens, of which a million cost 15 dollars.
PLACES = {
    ("desk", "live", "pod-1"): 1000,
    ("desk", "live", "pod-2"): 2000,
    ("search", "live", "pod-3"): 4000,
    ("mail", "staging", "pod-4"): 8000,
}


@pytest.fixture
def told(collecting: Callable[..., Collecting]) -> tuple[Collecting, str]:
    """A collector that has a call of each place, and where its pages are."""
    port = free_port()
    collector = collecting("--dashboard", str(port))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    calls = [
        row(service=service, environment=environment, instance=instance, output_tokens=tokens, started_at=now)
        for (service, environment, instance), tokens in PLACES.items()
    ]
    assert collector.post(body(*calls))[0] == 200
    wait_for(lambda: len(collector.ids()) == len(calls))
    return collector, f"http://127.0.0.1:{port}/-/claudetrace"


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def run(db: Path, *words: str) -> str:
    done = CliRunner().invoke(main, [*words, "--db", str(db)])
    assert done.exit_code == 0, done.output
    return done.stdout


def table(url: str) -> dict[str, str]:
    """Cost by service, as the page's file has it."""
    return {line["service"]: line["spend_usd"] for line in csv.DictReader(io.StringIO(page(url)))}


def test_pages_show_the_services(told: tuple[Collecting, str]) -> None:
    """The pages have what each service cost, and are narrowed by service, environment and instance."""
    _, url = told
    assert table(f"{url}/data/cost_by_service.csv?range=7d") == {
        "mail": "0.12", "search": "0.06", "desk": "0.045",
    }  # fmt: skip
    assert table(f"{url}/data/cost_by_service.csv?range=7d&environment=live") == {"search": "0.06", "desk": "0.045"}
    assert table(f"{url}/data/cost_by_service.csv?range=7d&service=desk&instance=pod-2") == {"desk": "0.03"}
    shown = page(f"{url}/cost?range=7d")
    assert all(f"service={name}" in shown for name in ("desk", "search", "mail"))
    listed = page(f"{url}/calls?range=7d&service=desk&columns=service,instance")
    assert ("pod-1" in listed, "pod-2" in listed, "pod-3" in listed) == (True, True, False)
    assert "$0.0450" in listed or "$0.045" in listed


def test_commands_read_it(told: tuple[Collecting, str]) -> None:
    """Reports and files have the figures of each service, prices are as they were, and `doctor` knows the ledger."""
    collector, _ = told
    report = json.loads(run(collector.db, "report", "--by", "service,instance", "--json"))
    spent = {(each["service"], each["instance"]): each["cost_usd"] for each in report["rows"]}
    assert {place: Decimal(usd) for place, usd in spent.items()} == {
        (service, instance): tokens * Decimal("0.000015") for (service, _, instance), tokens in PLACES.items()
    }
    exported = list(csv.DictReader(io.StringIO(run(collector.db, "export", "--format", "csv"))))
    assert sorted(each["service"] for each in exported) == ["desk", "desk", "mail", "search"]
    before = {each["id"]: each["cost_usd"] for each in exported}
    run(collector.db, "reprice", "--all", "--yes")
    again = csv.DictReader(io.StringIO(run(collector.db, "export", "--format", "csv")))
    assert {each["id"]: each["cost_usd"] for each in again} == before
    checks: Any = CliRunner().invoke(main, ["doctor", "--db", str(collector.db)])
    assert "rows                              4" in checks.output
