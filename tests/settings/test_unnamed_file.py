"""A `claudetrace.toml` that nobody named came with the folder that one stands in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import claudetrace
from claudetrace._config import resolve

FILE = Path("claudetrace.toml")
HARMFUL = """
hash_key = "theirs"
otlp = "http://127.0.0.1:9"
records = "stdout"
rates = "theirs.toml"
retention = "1m"
max_db_mb = 0.001
baggage = ["customer"]
alert_to = ["log", "http://127.0.0.1:9/hook"]
db = "../else.db"
budget_store = "/tmp/else.budgets"
[platforms]
foundry_data_zone = "us"
"""
HARMLESS = """
hash_tags = ["user"]
spans = "own"
attributes = "standard"
metrics = false
otlp = true
records = "otlp"
alert_to = ["log", "env:HOOK"]
db = "data/ledger.db"
budget_store = "data/budgets"
[tags]
team = "search"
[[budgets]]
name = "all"
usd = 3
"""


def test_it_decides_nothing_that_could_harm(caplog: pytest.LogCaptureFixture) -> None:
    """Where data goes, what a call costs and what is deleted stay as they were; one warning names the keys and the
    way out."""
    bare = resolve({})
    FILE.write_text(HARMFUL)

    assert (resolve({}), resolve({})) == (bare, bare)
    assert len(caplog.messages) == 1
    assert "alert_to, baggage, budget_store, db, hash_key, max_db_mb, otlp, platforms, rates, records" in caplog.text
    assert "retention in " in caplog.text
    assert "CLAUDETRACE_CONFIG" in caplog.text


def test_it_says_what_is_harmless(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Tags, spans, metrics, budgets, channels of the environment and files in its folder are as in a named file."""
    monkeypatch.setenv("HOOK", "https://hooks.example/x")
    FILE.write_text(HARMLESS)

    assert resolve({}) == resolve({"config": FILE})
    assert caplog.messages == []


@pytest.mark.parametrize("key", ["db", "budget_store"])
@pytest.mark.parametrize("place", ["../x", "/tmp/x", "link/x", "~/x", "a/../../x", "linked.db"])
def test_a_place_outside_its_folder_is_none(
    tmp_path: Path, key: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A path that leads out of the folder, also by links, is not taken."""
    (tmp_path / "outside").mkdir(exist_ok=True)
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path / "outside")
    (inner / "linked.db").symlink_to(tmp_path / "outside" / "y.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inner)
        bare = resolve({"budgets": [claudetrace.Budget("b", usd=1)]})
        FILE.write_text(f'{key} = "{place}"\n')

        assert resolve({"budgets": [claudetrace.Budget("b", usd=1)]}) == bare
    assert f"ignores {key} in " in caplog.text


@pytest.mark.parametrize("beside", ["x.db.spool", "x.db-wal", "x.db.budgets", "x.db.key"])
def test_a_place_with_a_link_beside_it_that_leads_out_is_none(
    tmp_path: Path, beside: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A ledger whose journal, log, budgets or key a link of the folder puts elsewhere is not taken."""
    outside, inner = tmp_path / "outside", tmp_path / "inner"
    outside.mkdir()
    inner.mkdir()
    (inner / beside).symlink_to(outside)
    monkeypatch.chdir(inner)
    bare = resolve({})
    FILE.write_text('db = "x.db"\n')

    assert resolve({}) == bare
    assert "ignores db in " in caplog.text


def test_a_ledger_survives_a_foreign_folder(client, server, db: Path) -> None:  # type: ignore[no-untyped-def]
    """Standing in a folder whose file limits the ledger to nothing deletes no row."""
    FILE.write_text('max_db_mb = 0.0001\nretention = "1m"\n[tags]\nteam = "theirs"\n')
    with claudetrace.instrument(db=db, force=True):
        for _ in range(3):
            client.messages.create(model="claude-haiku-5-5", max_tokens=9, messages=[{"role": "user", "content": "hi"}])

    with sqlite3.connect(db) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (3,)


def test_a_named_file_says_everything(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """By `config=` or `CLAUDETRACE_CONFIG` the same file is trusted."""
    FILE.write_text('retention = "1d"\ndb = "../else.db"\n')
    by_keyword = resolve({"config": FILE})
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(FILE))

    assert (by_keyword.retention_days, resolve({})) == (1.0, by_keyword)
    assert caplog.messages == []
