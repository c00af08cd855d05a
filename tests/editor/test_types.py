"""What an editor and a type checker know of the public names."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import claudetrace
import claudetrace.middleware
import claudetrace.testing

ROOT = Path(__file__).resolve().parents[2]
APP, WRONG = (str(Path(__file__).with_name(name).relative_to(ROOT)) for name in ("app.py", "wrong.py"))


def by_mypy(_folder: Path) -> set[tuple[str, int]]:
    """The lines in which mypy finds a fault under its strictest settings, whatever this project's are."""
    options = [
        "--strict",
        "--config-file",
        os.devnull,
        "--cache-dir",
        ".mypy_cache/users",
        "--follow-imports",
        "silent",
    ]
    ran = checked([sys.executable, "-m", "mypy", *options, "--no-error-summary", APP, WRONG])
    return {(found[1], int(found[2])) for found in re.finditer(r"^(\S+):(\d+): error", ran, re.MULTILINE)}


def by_pyright(folder: Path) -> set[tuple[str, int]]:
    """The lines in which pyright does."""
    settings = folder / "pyrightconfig.json"
    files = [str(ROOT / name) for name in (APP, WRONG)]
    settings.write_text(json.dumps({"typeCheckingMode": "strict", "include": files}))
    command = [sys.executable, "-m", "basedpyright", "-p", str(settings), "--pythonpath", sys.executable]
    found = json.loads(checked([*command, "--outputjson"]))
    assert found["summary"]["filesAnalyzed"] == len(files)
    return {
        (str(Path(each["file"]).relative_to(ROOT)), each["range"]["start"]["line"] + 1)
        for each in found["generalDiagnostics"]
        if each["severity"] == "error"
    }


def checked(command: list[str]) -> str:
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("check", [by_mypy, by_pyright], ids=["mypy", "pyright"])
def test_type_checkers_accept_what_is_right_and_see_each_fault(check: Any, tmp_path: Path) -> None:
    """An application that uses everything public has no fault under strict settings; each wrong line has one."""
    lines = (ROOT / WRONG).read_text().splitlines()
    wrong = {(WRONG, number) for number, line in enumerate(lines, 1) if re.search("[)s]  # wrong", line)}

    assert check(tmp_path) == wrong


def settings_of(described: Any) -> dict[str, str]:
    """Each setting that a docstring describes, with what it says of it."""
    text = inspect.cleandoc(described.__doc__)
    entries = re.findall(r"^([a-z_, ]+): (.*(?:\n {4,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(said.split()) for names, said in entries for name in names.split(", ")}


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in {"self", "request", "tags_"}]


@pytest.mark.parametrize("described", [claudetrace.instrument, claudetrace.Budget, claudetrace.record])
def test_help_describes_each_setting(described: Any) -> None:
    """`help()` has a line for each keyword, in the order of the signature."""
    said = settings_of(described)

    assert list(said) == parameters(described)


def test_help_of_instrument_has_a_default_and_an_example_of_each_setting() -> None:
    """Each setting of `instrument()` says its default; each that is not one of a few words has an example."""
    for name, said in settings_of(claudetrace.instrument).items():
        words = name in {"spans", "attributes", "metrics", "records", "force"}
        assert "Default: " in said, name
        assert words or "Example: " in said, name


def public() -> dict[str, Any]:
    """Every public name, with the methods and properties of classes."""
    named = {name: getattr(claudetrace, name) for name in claudetrace.__all__}
    named |= {name: getattr(claudetrace.middleware, name) for name in claudetrace.middleware.__all__}
    named["recorded"] = claudetrace.testing.recorded
    members = {
        f"{owner}.{name}": member
        for owner, kind in named.items()
        if inspect.isclass(kind)
        for name, member in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod))
    }
    return named | members


@pytest.mark.parametrize(("name", "member"), public().items(), ids=public())
def test_everything_public_has_a_docstring(name: str, member: Any) -> None:
    """A public name, and each public method of one, says what it does."""
    owner, _, method = name.partition(".")
    inherited = getattr(getattr(claudetrace, owner, None), method, None) if method else None

    assert inspect.getdoc(member) or inspect.getdoc(inherited), name
