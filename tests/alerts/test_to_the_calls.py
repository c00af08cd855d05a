"""An alert leads to the calls behind it: by one pasted command, and by a link."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace.cli._main import main

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer

ASK: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hi."}],
}


def test_each_alert_is_one_command_from_its_calls(
    start: Any,
    client: anthropic.Anthropic,
    server: PlayServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    db: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of a threshold the calls that spent it, of stopped ones those that were stopped, of untagged ones those; the
    text has it and the page of the dashboard. Who is forgotten is in none of them."""
    settings = tmp_path / "named.toml"
    settings.write_text('dashboard_url = "https://cost.example/-/claudetrace"\n')
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    alerts: list[claudetrace.Alert] = []
    each = claudetrace.Budget(
        "team", usd="0.002", tags={"customer": "*"}, thresholds=(0.1, 0.3), on_exceeded="block", forecast=False
    )
    start(budgets=[each], alert_to=[alerts.append, "log"])
    server.add(_answers.answer(_wire.message("Hi.", _wire.usage(100, 50), model="claude-sonnet-5"), times=None))
    client.messages.create(**ASK)
    with claudetrace.tag(customer="the firm"):
        client.messages.create(**ASK)
        with pytest.raises(claudetrace.BudgetExceeded):
            client.messages.create(**ASK)
    claudetrace.uninstrument()

    assert sorted(alert.kind for alert in alerts) == ["blocked", "threshold", "untagged"]
    told = {alert.kind: alert for alert in alerts}
    shown = {}
    for kind, alert in told.items():
        assert (alert.service, alert.command in caplog.text, alert.link in caplog.text) == ("shop", True, True)
        ran = CliRunner().invoke(main, shlex.split(alert.command)[1:], env={"COLUMNS": "200"})
        assert ran.exit_code == 0, ran.output
        shown[kind] = [(line.split()[2], "the firm" in line) for line in ran.output.splitlines()[1:]]
    assert shown == {
        "threshold": [("ok", True), ("BudgetExceeded", True)],
        "blocked": [("BudgetExceeded", True)],
        "untagged": [("ok", False)],
    }
    assert told["threshold"].link.endswith("&tag=customer%3Athe+firm")
    assert f"For more room at once: claudetrace budgets grant team --key 'the firm' --usd 1 --why REASON --db {db}" in (
        told["blocked"].message
    )

    forgotten = CliRunner().invoke(main, ["forget", "--customer", "the firm", "--yes", "--db", str(db)])
    assert forgotten.exit_code == 0, forgotten.output
    assert b"firm" not in Path(f"{db}.budgets").read_bytes()
