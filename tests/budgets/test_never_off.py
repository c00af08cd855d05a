"""A budget is never switched off without a word."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from _asking import ASK, HELLO, block, until
from click.testing import CliRunner

import claudetrace
from claudetrace import _switch
from claudetrace._demo import _answers
from claudetrace.cli._main import main

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._demo._server import PlayServer


def test_a_run_where_nothing_is_watched_is_refused() -> None:
    """Before `instrument()`, and in a process that never imported anything else, the error says what to call."""
    with (
        pytest.raises(claudetrace.ClaudetraceError, match=r"call claudetrace.instrument\(\) before it"),
        claudetrace.Budget(usd=1, per="run"),
    ):
        pass
    said = subprocess.run(
        [sys.executable, "-c", "import claudetrace\nwith claudetrace.Budget(usd=1, per='run'): pass"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nothing watches the calls of this process" in said.stderr


def test_a_run_with_everything_switched_off_lets_through_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`CLAUDETRACE_ENABLED=false` is one warning, not an error."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")
    monkeypatch.setattr(_switch.watching, "told", False)
    claudetrace.instrument()
    for _ in range(2):
        with claudetrace.Budget(usd=1, per="run"):
            pass

    assert [record.getMessage() for record in caplog.records] == [
        'with Budget(per="run") limits nothing, because CLAUDETRACE_ENABLED=false switches claudetrace off'
    ]


def test_a_run_without_a_ledger_is_a_run(client: anthropic.Anthropic, server: PlayServer) -> None:
    """`instrument(db=False)` watches calls; after `uninstrument()` nothing does."""
    server.add(_answers.answer(HELLO, times=None))
    with claudetrace.instrument(db=False, force=True), claudetrace.Budget(max_calls=1, per="run") as run:
        client.messages.create(**ASK)
        with pytest.raises(claudetrace.BudgetExceeded):
            client.messages.create(**ASK)

    assert run.calls == 1
    with pytest.raises(claudetrace.ClaudetraceError), claudetrace.Budget(usd=1, per="run"):
        pass


def test_a_channel_whose_variable_is_not_set_is_a_warning_and_a_finding(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, db: Path
) -> None:
    """`instrument()` starts without it, the other channels stay, and `doctor` names it."""
    settings = tmp_path / "named.toml"
    settings.write_text('alert_to = ["env:NOT_SET_HERE", "log"]\n')
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    running = start()

    assert [channel.name for channel in running.settings.alert_to] == ["log"]
    assert "claudetrace sends no alerts to env:NOT_SET_HERE: that environment variable is not set" in caplog.text
    told = CliRunner().invoke(main, ["doctor", "--db", str(db)]).output
    assert "env:NOT_SET_HERE: it is not set here, so no alert goes there" in told


def test_calls_without_the_tag_of_a_budget_are_told_or_stopped(
    start: Any, client: anthropic.Anthropic, server: PlayServer
) -> None:
    """Once in the window with their number; `block` stops them with the way out; `ignore` lets them be."""
    alerts: list[claudetrace.Alert] = []
    budgets = [block(name, tags={name: "*"}, untagged=name) for name in ("alert", "block", "ignore")]
    start(budgets=budgets, alert_to=[alerts.append])
    server.add(_answers.answer(HELLO, times=None))
    for _ in range(2):
        with claudetrace.tag(block="yes"):
            client.messages.create(**ASK)
    with pytest.raises(claudetrace.BudgetExceeded, match=r"stops calls without the tag 'block'") as stopped:
        client.messages.create(**ASK)
    assert str(pickle.loads(pickle.dumps(stopped.value))) == str(stopped.value)
    assert claudetrace.flush(timeout_s=30)
    until(lambda: len(alerts) == 2)

    told = {alert.kind: alert for alert in alerts}
    assert (told["untagged"].budget, told["blocked"].budget) == ("alert", "block")
    assert 'is over each value of the tag "alert", and' in told["untagged"].message


def test_untagged_needs_a_budget_that_stops_calls_of_each_value() -> None:
    """What would have no effect is refused with the way out."""
    with pytest.raises(claudetrace.ClaudetraceError, match=r'it goes with on_exceeded="block" and a tag that is "\*"'):
        claudetrace.Budget("b", usd=1, untagged="block", tags={"user": "*"})


def test_doctor_shows_the_share_of_calls_under_no_budget(
    start: Any, client: anthropic.Anthropic, server: PlayServer, db: Path
) -> None:
    """Of the latest calls that cost something, with the reason of each."""
    start(budgets=[block("team", tags={"customer": "*", "feature": "chat"})])
    server.add(_answers.answer(HELLO, times=None))
    for tags in ({"customer": "a", "feature": "chat"}, {"feature": "chat"}, {"customer": "a"}, {}):
        with claudetrace.tag(**tags):
            client.messages.create(**ASK)
    claudetrace.uninstrument()

    told = CliRunner().invoke(main, ["doctor", "--db", str(db)]).output
    assert "3 of the last 4 calls (75%); 2 of no budget's tags or model; 1 without the tag customer" in told
