"""What a release and its workflows rely on is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()


def jobs(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_more(workflow: Path) -> None:
    """Rights are given job by job, no secret is used, and each action has a version."""
    text = workflow.read_text()

    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for job in jobs(workflow).values():
        for step in job["steps"]:
            assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "@v1"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_is_there(workflow: Path) -> None:
    """Each make target and script that a workflow runs is there, so that it can be tried without the workflow."""
    run = [step["run"] for job in jobs(workflow).values() for step in job["steps"] if "run" in step]

    for command in run:
        for target in re.findall(r"^make ([\w-]+)", command, re.MULTILINE):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target
        assert not command.startswith(".ci/") or (ROOT / command.split()[0]).is_file()


def test_ci_runs_every_python_that_the_package_allows() -> None:
    """The matrix begins with the oldest Python that is allowed, and has each that the classifiers name."""
    matrix = jobs(ROOT / ".github" / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]["python"]
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}

    assert f">={matrix[0]}" == PROJECT["requires-python"]
    assert named <= set(matrix)


def test_the_changelog_begins_with_the_version() -> None:
    """The newest version in the changelog is the package's, and each relative link in it leads to a file."""
    from claudetrace import __version__

    changelog = (ROOT / "CHANGELOG.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", changelog) if "://" not in link]

    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_version_is_said_once() -> None:
    """No other file that a release touches has the number."""
    from claudetrace import __version__

    others = ("pyproject.toml", "CITATION.cff", "SECURITY.md", "README.md", "Makefile")

    assert [
        name for name in others if re.search(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])", (ROOT / name).read_text())
    ] == []
