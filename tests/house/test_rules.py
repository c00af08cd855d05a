"""The rules of the house, which `ruff` and `mypy` do not know."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 350
LONGEST_FUNCTION = 40
SOURCES = sorted((ROOT / "claudetrace").rglob("*.py"))
OURS = sorted(
    path
    for folder in ("claudetrace", "dashboards", "docs", "examples", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".sql", ".toml", ".yaml"}
) + [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml")]
LONG_SIGNATURES = {"claudetrace/_instrument.py": ("instrument",)}
"""Functions that are long because their public signature is."""
# Spelled in parts, so that this file keeps its own rule.
UNWANTED = {
    "a path of one machine": re.compile(
        "|".join(("/" + "work/", "/" + "home/[a-z]", "/" + "root/", "/" + "Users/[a-z]"))
    ),
    "the host of a package index": re.compile(
        "|".join(("py" + r"pi\.org", "files.python" + "hosted", "index" + "-url"))
    ),
    "something left to do": re.compile("|".join((r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bX" + r"XX\b"))),
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_files_and_functions_are_short(path):
    """A file of the library has fewer than 350 lines, a function of it fewer than 40."""
    source = path.read_text()
    long = [
        f"{node.name}: {length}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (length := _lines(node)) >= LONGEST_FUNCTION
    ]

    assert len(source.splitlines()) < LONGEST_FILE
    assert [each for each in long if each.split(":")[0] not in LONG_SIGNATURES.get(_name(path), ())] == []


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, without its docstring."""
    docstring = node.body[0] if ast.get_docstring(node) else None
    told = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - told


@pytest.mark.parametrize("what", UNWANTED)
def test_nothing_unwanted_is_written(what):
    """No file names a machine's paths or an index's host, or leaves something to do."""
    found = [
        f"{_name(path)}:{number}: {line.strip()}"
        for path in OURS
        if path.exists()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNWANTED[what].search(line)
    ]

    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_modules_say_what_they_are(path):
    """Each module begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_starting_pytest_loads_nothing_heavy():
    """The plugin imports neither the SDK nor the ledger before a test asks for them."""
    told = "import sys, claudetrace.testing; print([n for n in sys.modules if n in HEAVY])"
    heavy = ("anthropic", "opentelemetry", "sqlite3", "datasette", "sqlite_utils", "orjson", "httpx")
    ran = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {heavy!r}; {told}"], capture_output=True, text=True, check=True, timeout=60
    )

    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_waits_are_bound_by_a_clock_that_nobody_freezes(path):
    """A wait is bound by `claudetrace._clock.monotonic`: a test suite can stop Python's own clocks."""
    assert "time.monotonic" not in path.read_text() or path.name == "_clock.py"


NEWER_THAN_SQLITE_3_37 = re.compile(r"->>|\b(?:UNIXEPOCH|FORMAT|OCTET_LENGTH|CONCAT|STRING_AGG|JSONB?_ERROR)\(")


def test_the_ledgers_sql_keeps_to_the_oldest_sqlite():
    """What SQLite is asked is in its version 3.37, which is Ubuntu 22.04's; other SQL is PostgreSQL's."""
    sql = [path for path in OURS if path.suffix in {".py", ".sql", ".yaml"} and "tests" not in path.parts]
    newer = [_name(path) for path in sql if NEWER_THAN_SQLITE_3_37.search(path.read_text())]

    assert [name for name in newer if "/_postgres/" not in name] == []
