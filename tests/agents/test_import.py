"""`claudetrace import claude-code`: what Claude Code wrote down, each response once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace.cli import main

from .written import MODEL, PICOUSD, SHAPES, USAGE, record, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "projects"


def run_import(folder: Path, db: Path, *further: str) -> str:
    command = ["import", "claude-code", "--dir", str(folder), "--db", str(db), *further]
    return CliRunner().invoke(main, command, catch_exceptions=False).output


def calls(db: Path) -> list[claudetrace.Call]:
    with claudetrace.Ledger(db) as ledger:
        assert ledger.db.execute("SELECT * FROM unproven_calls").fetchall() == []
        return ledger.calls(limit=1_000)[::-1]


@pytest.mark.parametrize("version", SHAPES)
def test_each_version_is_read_exactly(folder: Path, db: Path, version: str) -> None:
    """One row a response with the price of its last record and the time of its first, however a version writes it."""
    write(folder / "-src-shop" / "session-1.jsonl", *SHAPES[version]("msg_1"))

    run_import(folder, db)

    (call,) = calls(db)
    doubtful = ("contradictory_usage",) if version == "2.1.152" else ()
    assert (call.message_id, call.cost_picousd, call.cost_flags) == ("msg_1", PICOUSD, doubtful)
    assert call.started_at.isoformat() == "2026-11-20T10:00:01+00:00"
    assert (call.source, call.billing, call.usage_is_final) == ("claude_code", "unknown", True)


def test_who_and_where(folder: Path, db: Path) -> None:
    """A row has the project, the branch, the session, the user and the subagent, and no word of content."""
    session = folder / "-src-shop" / "session-1"
    write(session.with_suffix(".jsonl"), record("msg_1"))
    write(session / "subagents" / "agent-a1.jsonl", record("msg_2", 2, isSidechain=True, agentId="a1"))
    (session / "subagents" / "agent-a1.meta.json").write_text('{"agentType": "reviewer"}')
    write(session / "subagents" / "workflows" / "r1" / "agent-a2.jsonl", record("msg_3", 3, attributionAgent="planner"))

    run_import(folder, db)

    told = [(c.project, c.tags, c.session_id, c.agent) for c in calls(db)]
    where = ("/src/shop", {"branch": "main"}, "session-1")
    assert told == [(*where, None), (*where, "reviewer"), (*where, "planner")]
    assert {c.user_id for c in calls(db)} == {session.with_suffix(".jsonl").owner()}
    assert b"secret words" not in db.read_bytes()
    report = CliRunner().invoke(main, ["report", "--by", "project", "--since", "all", "--db", str(db)]).output
    assert "/src/shop" in report
    assert "$0.008415 of it is of Claude Code, and nobody said who pays" in report


def test_projects_name_no_user(folder: Path, db: Path) -> None:
    """A folder below a home is the same project whose home it is."""
    homes = ("/".join(("", "home", "ann")), "/".join(("", "Users", "bob")))
    for number, home in enumerate(homes):
        write(folder / "p" / f"{number}.jsonl", record(f"msg_{number}", number, cwd=f"{home}/src/shop"))

    run_import(folder, db)

    assert {call.project for call in calls(db)} == {"~/src/shop"}


def test_again_reads_only_what_is_new(folder: Path, db: Path) -> None:
    """A second import adds what was written since, and copies of a response in other files are no rows."""
    transcript = write(folder / "p" / "session-1.jsonl", record("msg_1"))
    assert run_import(folder, db).startswith("1 response imported")
    write(transcript, record("msg_2", 2))
    write(folder / "p" / "fork.jsonl", record("msg_1"), record("msg_1", 7), record("msg_3", 3))

    assert run_import(folder, db).startswith("2 responses imported")
    assert run_import(folder, db).startswith("0 responses imported")
    assert [call.message_id for call in calls(db)] == ["msg_1", "msg_2", "msg_3"]


def test_another_ledger_has_the_same_ids(folder: Path, db: Path, tmp_path: Path) -> None:
    """Ids are of the response, so that the ledgers of two hosts can be brought together."""
    write(folder / "p" / "session-1.jsonl", record("msg_1"), record("msg_2", 2))
    other = tmp_path / "other.db"

    run_import(folder, db)
    run_import(folder, other)

    assert [call.id for call in calls(db)] == [call.id for call in calls(other)]


def test_what_is_no_response_is_left_out_and_counted(folder: Path, db: Path) -> None:
    """Broken lines are counted, a half line waits, and messages of the CLI's own are no rows."""
    transcript = write(
        folder / "p" / "session-1.jsonl",
        b'{"type":"assistant","message":{"id":"msg_0"',
        b"\xff\xfe no json",
        record("msg_1", model="<synthetic>"),
        {"type": "assistant", "message": None},
        {"type": "assistant", "message": {"id": 7, "model": MODEL}},
        record("msg_2", 2, content=[{"type": "text", "text": "x" * (11 << 20)}]),
    )
    with transcript.open("ab") as file:
        file.write(b'{"type":"assist')

    assert "2 broken lines skipped" in run_import(folder, db)
    assert [call.message_id for call in calls(db)] == ["msg_2"]


def test_a_cut_response_is_completed(folder: Path, db: Path) -> None:
    """A response that was cut when it was read is completed by a later record, and sums with it."""
    begun = {**USAGE, "output_tokens": 1}
    transcript = write(folder / "p" / "session-1.jsonl", record("msg_1", usage=begun, stop_reason=None))
    run_import(folder, db)
    (cut,) = calls(db)
    assert (cut.usage_is_final, cut.cost_flags) == (False, ("partial_usage",))

    write(transcript, record("msg_1", 4))
    run_import(folder, db)

    (call,) = calls(db)
    assert (call.id, call.usage_is_final, call.cost_picousd) == (cut.id, True, PICOUSD)
    with claudetrace.Ledger(db) as ledger:
        (spent,) = ledger.spend(by=None, since="2026-11-01")
    assert (spent.calls, spent.cost_usd, spent.lower_bound_calls) == (1, call.cost_usd, 0)


def test_a_truncated_transcript(folder: Path, db: Path) -> None:
    """A transcript that was written anew is read from its beginning."""
    transcript = write(folder / "p" / "session-1.jsonl", record("msg_1"), record("msg_2", 2))
    run_import(folder, db)
    transcript.unlink()
    write(transcript, record("msg_3", 3))

    run_import(folder, db)

    assert [call.message_id for call in calls(db)] == ["msg_1", "msg_2", "msg_3"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_transcript_that_may_not_be_read(folder: Path, db: Path) -> None:
    """What this user may not read is told, and the others are imported."""
    write(folder / "p" / "a.jsonl", record("msg_1")).chmod(0)
    write(folder / "p" / "b.jsonl", record("msg_2"))

    assert "1 transcripts cannot be read" in run_import(folder, db)
    assert [call.message_id for call in calls(db)] == ["msg_2"]


def test_since(folder: Path, db: Path) -> None:
    """Only responses from then on."""
    write(folder / "p" / "session-1.jsonl", record("msg_1"), record("msg_2", 30))

    run_import(folder, db, "--since", "2026-11-20T10:00:10Z")

    assert [call.message_id for call in calls(db)] == ["msg_2"]


def test_a_subscription_is_no_spend(folder: Path, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings say that a subscription pays, rows have their cost, and totals leave it out."""
    settings = tmp_path / "named.toml"
    settings.write_text('[agents]\nbilling = "subscription"\n')
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    write(folder / "p" / "session-1.jsonl", record("msg_1"))

    run_import(folder, db)

    (call,) = calls(db)
    assert (call.billing, call.cost_picousd, call.spend_picousd) == ("subscription", PICOUSD, 0)


def test_settings_that_cannot_be(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown word in `[agents]` and an unknown source are refused with the way out."""
    settings = tmp_path / "named.toml"
    settings.write_text('[agents]\nbilling = "me"\n')
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(settings))
    with pytest.raises(claudetrace.ClaudetraceError, match="api, credit, subscription, unknown"):
        claudetrace.instrument(db=db)
    monkeypatch.delenv("CLAUDETRACE_CONFIG")
    with pytest.raises(claudetrace.ClaudetraceError, match="give any of anthropic, agent_sdk"):
        claudetrace.instrument(db=db, sources=("openai",))


def test_follow(folder: Path, db: Path) -> None:
    """`--follow` takes what is written meanwhile, and an interrupt ends it well."""
    transcript = write(folder / "p" / "session-1.jsonl", record("msg_1"))
    command = [sys.executable, "-m", "claudetrace", "import", "claude-code", "--dir", str(folder), "--db", str(db)]
    with subprocess.Popen([*command, "--follow"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("1 response imported")
        write(transcript, record("msg_2", 2))
        assert running.stdout.readline() == "1 response more\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 0

    assert [call.message_id for call in calls(db)] == ["msg_1", "msg_2"]
