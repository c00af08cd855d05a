"""A setting that cannot be is refused at `instrument()`: its name, its value and the way out are in the message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import claudetrace

NO_SINK = type("NoSink", (), {"write": print})()


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("db", True, "give a path"),
        ("db", "", "give a path"),
        ("db", 7, "give a path"),
        ("db", b"ledger.db", "give a path"),
        ("db", "a\0b", "give a path"),
        ("db", ":memory:", "db=False for no ledger"),
        ("db", "sqlite:///ledger.db", "db=False for no ledger"),
        ("db", "~nobody-of-this-name/ledger.db", "home directory"),
        ("tags", ["team"], 'as {"team": "search"}'),
        ("tags", "team", "k=v,k=v"),
        ("tags", "=search", "k=v,k=v"),
        ("hash_tags", "user", 'as ("user",)'),
        ("hash_tags", (1,), "each name must be a string"),
        ("hash_key", b"key", "give a string"),
        ("spans", "none", "auto, own, off"),
        ("spans", True, "auto, own, off"),
        ("attributes", "few", "all, standard"),
        ("metrics", "yes", "True or False"),
        ("metric_tags", "customer", 'as ("user",)'),
        ("metric_tags", ("customer", "user"), "user has too many values for metrics"),
        ("metric_tags", ["session"], "session has too many values for metrics"),
        ("baggage", "customer", 'as ("user",)'),
        ("sinks", print, "write(calls) and close()"),
        ("sinks", (print,), "write(calls) and close()"),
        ("sinks", (NO_SINK,), "write(calls) and close()"),
        ("retention", "90", "90d, 2w or 12h"),
        ("retention", 90, "90d, 2w or 12h"),
        ("retention", "0d", "90d, 2w or 12h"),
        ("retention", "-1d", "90d, 2w or 12h"),
        ("retention", "9" * 400 + "d", "at most 100 years"),
        ("rates", 7, "the path of a TOML file"),
        ("rates", "", "the path of a TOML file"),
        ("max_db_mb", "100", "a number of megabytes greater than 0"),
        ("max_db_mb", 0, "a number of megabytes greater than 0"),
        ("max_db_mb", True, "a number of megabytes greater than 0"),
        ("max_db_mb", math.inf, "a number of megabytes greater than 0"),
        ("max_db_mb", math.nan, "a number of megabytes greater than 0"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, value: Any, way_out: str, db: Path) -> None:
    """The error names the setting, the value and the way out, and nothing has started."""
    with pytest.raises(claudetrace.ClaudetraceError) as caught:
        claudetrace.instrument(**{"db": db, name: value})

    message = str(caught.value)
    assert message.startswith(f"{name}={value!r} cannot be used: ")
    assert way_out in message
    assert (claudetrace._instrument.running(), db.exists()) == (None, False)


@pytest.mark.parametrize(
    ("variable", "value", "way_out"),
    [
        ("CLAUDETRACE_TAGS", "team", "k=v,k=v"),
        ("CLAUDETRACE_SPANS", "none", "auto, own, off"),
        ("CLAUDETRACE_DB", ":memory:", "db=False for no ledger"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    variable: str, value: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, so that one looks in the right place."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(claudetrace.ClaudetraceError) as caught:
        claudetrace.instrument()

    assert str(caught.value).startswith(f"{variable}={value!r} cannot be used: ")
    assert way_out in str(caught.value)


def test_rates_that_cannot_be_are_refused(db: Path, tmp_path: Path) -> None:
    """Own rates that are missing or no rates raise at `instrument()` and leave nothing running."""
    (tmp_path / "rates.toml").write_text("not = [rates")
    for rates in (tmp_path / "missing.json", tmp_path / "rates.toml", {"models": 7}):
        with pytest.raises(claudetrace.ClaudetraceError, match="rates"):
            claudetrace.instrument(db=db, rates=rates)

    assert claudetrace._instrument.running() is None


def test_what_is_refused_with_force_leaves_no_dead_meter(db: Path) -> None:
    """A replacement that is refused at its start is no running meter: the next `instrument()` starts one."""
    claudetrace.instrument(db=db)
    Path(f"{db}.key").touch()
    with pytest.raises(claudetrace.ClaudetraceError, match="hash_tags"):
        claudetrace.instrument(db=db, hash_tags=("user",), force=True)

    assert claudetrace.instrument(db=db).active
