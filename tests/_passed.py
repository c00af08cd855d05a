"""Which versions of others' packages a check passed with last, so that its failure can say what has changed since."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

FILE = Path(__file__).with_name("passed.json")
LIST = "import importlib.metadata as m, json; print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"


def versions(python: Path) -> dict[str, str]:
    """The packages of an environment, without ours."""
    ran = subprocess.run([python, "-c", LIST], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(ran.stdout)
    return {name: found[name] for name in sorted(found) if name not in {"claudetrace", "pip", "setuptools"}}


def remember(check: str, python: Path, said: str) -> None:
    """Notes the versions that a check has just passed with, and what it said."""
    kept = _read()
    kept[check] = {"said": said, "versions": versions(python)}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept))
    FILE.write_text(f"{{\n{lines}\n}}\n")


def changes(check: str, python: Path) -> list[str]:
    """What is another version now than when the check passed last, and what it said then."""
    before = _read().get(check)
    if before is None:
        return [f"{check} has not passed before"]
    then, now = before["versions"], versions(python)
    changed = [
        f"  {name}: {then.get(name, 'absent')} passed, now {now.get(name, 'absent')}"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]
    return [f"{check} passed last with: {before['said']}", *(changed or ["  the same packages: the change is ours"])]


def _read() -> dict[str, dict[str, dict[str, str]]]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}
