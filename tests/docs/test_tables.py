"""The tables of names in `docs/` have what the code has, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sqlite3
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import claudetrace
from claudetrace.cli import main

from ._pages import DOCS, PAGES, ROOT, names, tables

SETTINGS = tables("docs/settings.md", "## Keywords of `instrument()`")


def _reference() -> ModuleType:
    pytest.importorskip("yaml")
    sys.path.insert(0, str(DOCS / "_site"))
    try:
        import reference
    finally:
        sys.path.pop(0)
    return reference


def test_settings() -> None:
    """Each keyword of `instrument()` is a row, once."""
    assert sorted(names(row[0])[0] for row in SETTINGS) == sorted(inspect.signature(claudetrace.instrument).parameters)


def test_variables() -> None:
    """Each variable of the environment that the code reads is on the page, and no other."""
    sources = (path.read_text() for path in (ROOT / "claudetrace").rglob("*.py"))
    variable = re.compile(r"(?<![A-Z_])CLAUDETRACE_[A-Z_]+")
    read = {name for source in sources for name in variable.findall(source)}

    assert set(variable.findall(PAGES["docs/settings.md"])) == read


def test_defaults_of_settings() -> None:
    """Where a row names a default, it is the code's."""
    keywords = inspect.signature(claudetrace.instrument).parameters
    told = {names(row[0])[0]: row[2] for row in SETTINGS}
    said = {name: cell for name, cell in told.items() if cell in ("`True`", "`False`", '`"auto"`', '`"all"`')}

    assert {name: f"`{keywords[name].default!r}`".replace("'", '"') for name in said} == said


def test_settings_of_the_file(tmp_path: Path) -> None:
    """What stands in the file alone is in the second table."""
    (tmp_path / "claudetrace.toml").write_text("nonsense = 1")
    with pytest.raises(claudetrace.ClaudetraceError, match="known are") as refused:
        claudetrace.instrument(config=tmp_path / "claudetrace.toml", force=True)
    known = set(str(refused.value).partition("known are ")[2].split(", "))
    told = {name.strip("[]") for row in tables("docs/settings.md", "## Only in the file") for name in names(row[0])}

    assert told == known - set(inspect.signature(claudetrace.instrument).parameters)


def test_settings_of_budgets() -> None:
    """Each keyword of `Budget` is a row of docs/budgets.md."""
    told = [name for row in tables("docs/budgets.md", "## Settings") for name in names(row[0])]

    assert sorted(told) == sorted(inspect.signature(claudetrace.Budget).parameters)


def test_alerts() -> None:
    """Each kind of alert is a row of both tables of docs/alerts.md."""
    kinds = set(re.findall(r"['\"](\w+)['\"]", claudetrace.Alert.__annotations__["kind"]))
    for heading in ("## What each alert means", "## When each is raised"):
        told = {name for row in tables("docs/alerts.md", heading) for name in names(row[0])}
        assert told == kinds


def test_names_of_the_python_page() -> None:
    """docs/api.md has each public name once."""
    told = re.findall(r"^::: claudetrace\.(\w+)$", PAGES["docs/api.md"], re.MULTILINE)

    assert sorted(told) == sorted(claudetrace.__all__)


def test_columns() -> None:
    """The generated table has each column of `calls` and each field of `Call`, and says what it is."""
    connection = sqlite3.connect(":memory:")
    connection.executescript((files("claudetrace._ledger") / "schema.sql").read_text())
    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_xinfo('calls')")]
    told = re.findall(r"^\| `(\w+)` \| .* \| .+ \|$", _reference().columns(), re.MULTILINE)

    assert told == columns
    assert {each.name for each in dataclasses.fields(claudetrace.Call)} <= set(columns)


def test_the_command_line() -> None:
    """The generated page has each command of the group."""
    told = re.findall(r"^#+ `(claudetrace [\w -]+)`$", _reference().command_line(), re.MULTILINE)

    assert {"claudetrace report", "claudetrace budgets grant", "claudetrace collect"} <= set(told)


def test_dimensions(tmp_path: Path) -> None:
    """What `--by` takes is in the table of docs/reports.md."""
    told = {name for row in tables("docs/reports.md", "## What does it cost?") for name in names(row[1])}
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True):
        claudetrace.record({"type": "message", "id": "msg_1", "model": "claude-haiku-5-5", "usage": {}, "content": []})
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger, pytest.raises(claudetrace.ClaudetraceError) as refused:
        ledger.spend(by="nonsense")
    known = str(refused.value).partition("none of ")[2].partition(";")[0].split(", ")

    assert set(known) <= told


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("report", 0),
        ("find nothing", 1),
        ("prices no-such-model", 1),
        ("forget --user nobody --yes", 1),
        ("report --nonsense", 2),
        ("report --since nonsense", 2),
        ("report --db elsewhere.db", 2),
    ],
)
def test_exit_codes(words: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/errors.md gives as an example ends so."""
    monkeypatch.setenv("CLAUDETRACE_DB", str(tmp_path / "ledger.db"))
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True):
        claudetrace.record({"type": "message", "id": "msg_1", "model": "claude-haiku-5-5", "usage": {}, "content": []})

    assert CliRunner().invoke(main, words.split()).exit_code == code


def test_tables_of_the_ledger(tmp_path: Path) -> None:
    """The tables and views that docs/columns.md names are in a ledger."""
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True):
        claudetrace.record({"type": "message", "id": "msg_1", "model": "claude-haiku-5-5", "usage": {}, "content": []})
    told = {name for row in tables("docs/columns.md", "## Other tables") for name in names(row[0])}
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        assert told <= {*ledger.db.table_names(), *ledger.db.view_names()}


def test_messages_of_the_log() -> None:
    """Each message that docs/errors.md explains begins so in the code."""
    sources = "\n".join(path.read_text() for path in (ROOT / "claudetrace").rglob("*.py"))
    for row in tables("docs/errors.md", "## What the log says"):
        for part in names(row[0])[0].split("…"):
            assert part.strip() in sources, part
