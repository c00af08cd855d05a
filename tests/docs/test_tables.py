"""The tables of names in `docs/` have what the code has, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sqlite3
import sys
from importlib.resources import files
from types import ModuleType

import pytest

import claudetrace
from claudetrace import _config
from claudetrace._ledger._dimensions import NAMES

from ._pages import DOCS, PAGES, names, tables

SETTINGS = tables("docs/settings.md", "## Keywords of `instrument()`")


def _generate() -> ModuleType:
    pytest.importorskip("yaml")
    sys.path.insert(0, str(DOCS / "_site"))
    try:
        import generate
    finally:
        sys.path.pop(0)
    return generate


def test_settings() -> None:
    """Each keyword of `instrument()` is a row, with the environment variable that it has."""
    told = {names(row[0])[0]: (names(row[1]) or [None])[0] for row in SETTINGS}
    keywords = inspect.signature(claudetrace.instrument).parameters
    variables = {name: variable for name, (variable, _) in _config._SETTINGS.items() if variable}

    assert list(told) == [*dict.fromkeys([*told])]
    assert set(told) == set(keywords)
    assert {name: variable for name, variable in told.items() if variable} == {
        **variables,
        "config": "CLAUDETRACE_CONFIG",
    }


def test_defaults_of_settings() -> None:
    """Where a row names a default, it is the code's."""
    keywords = inspect.signature(claudetrace.instrument).parameters
    told = {names(row[0])[0]: row[2] for row in SETTINGS}
    said = {name: cell for name, cell in told.items() if cell in ("`True`", "`False`", '`"auto"`', '`"all"`')}

    assert {name: f"`{keywords[name].default!r}`".replace("'", '"') for name in said} == said


def test_settings_of_the_file() -> None:
    """What stands in the file alone is in the second table."""
    keywords = inspect.signature(claudetrace.instrument).parameters
    told = {name.strip("[]") for row in tables("docs/settings.md", "## Only in the file") for name in names(row[0])}

    assert told == (set(_config._SETTINGS) - set(keywords)) | {"hosts", "agents", "platforms", "reconcile"}


def test_settings_of_budgets() -> None:
    """Each keyword of `Budget` is a row of docs/budgets.md."""
    told = [name for row in tables("docs/budgets.md", "## Settings") for name in names(row[0])]

    assert sorted(told) == sorted(inspect.signature(claudetrace.Budget).parameters)


def test_alerts() -> None:
    """Each kind of alert is a row of docs/alerts.md, and of docs/budgets.md."""
    kinds = set(re.findall(r'"(\w+)"', claudetrace.Alert.__annotations__["kind"]))
    for page, heading in (("docs/alerts.md", "## What each alert means"), ("docs/budgets.md", "## Alerts")):
        told = {name for row in tables(page, heading) for name in names(row[0])}
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
    told = re.findall(r"^\| `(\w+)` \| .* \| .+ \|$", _generate().columns(), re.MULTILINE)

    assert told == columns
    assert {each.name for each in dataclasses.fields(claudetrace.Call)} <= set(columns)


def test_the_command_line() -> None:
    """The generated page has each command of the group."""
    told = re.findall(r"^#+ `(claudetrace [\w -]+)`$", _generate().command_line(), re.MULTILINE)

    assert {"claudetrace report", "claudetrace budgets grant", "claudetrace import claude-code"} <= set(told)


def test_dimensions() -> None:
    """What `--by` takes is in the table of docs/reports.md."""
    told = {name for row in tables("docs/reports.md", "## What does it cost?") for name in names(row[1])}

    assert set(NAMES) <= told
