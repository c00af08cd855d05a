"""The fast part of the tests with the newest of what claudetrace stands on, and the newest price lists: `make newest`.

A failure here tells of a release of others before a user does. Each part has an environment of its own in `.release/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from check import FAST, KEPT, PYTEST, ROOT, TESTERS, Report, environment, lines, run

PAGES = ("tests/dashboards/test_datasette.py", "tests/dashboards/test_pages.py", "tests/dashboards/test_command.py")
PRE = "--pre"
LEFT_OUT = {"claude-2", "claude-v1"}
"""Models that were gone before our price list begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is installed beside the project, and the tests that run on it."""

    name: str
    packages: tuple[str, ...]
    shown: str
    tests: tuple[str, ...] = FAST


PARTS = (
    Part(name="sdk", packages=("anthropic[bedrock,vertex]",), shown="anthropic"),
    Part(name="agent sdk", packages=("claude-agent-sdk",), shown="claude-agent-sdk", tests=("tests/agents",)),
    Part(
        name="opentelemetry",
        packages=(PRE, "opentelemetry-sdk", "opentelemetry-exporter-otlp", "opentelemetry-semantic-conventions"),
        shown="opentelemetry-sdk",
        tests=("tests/telemetry/spans", "tests/telemetry/test_metrics.py", "tests/telemetry/test_export.py"),
    ),
    Part(name="datasette", packages=("datasette",), shown="datasette", tests=PAGES),
    Part(name="datasette, pre-release", packages=(PRE, "datasette>=1.0a0"), shown="datasette", tests=PAGES),
)


def tested(part: Part) -> str:
    """How the part's tests end."""
    name = part.name.replace(",", "").replace(" ", "-")
    made = environment(f"newest-{name}", sys.executable, "-e", ROOT, *TESTERS)
    run(made, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade", *part.packages)
    shown = run(made, "-c", f"from importlib.metadata import version; print(version({part.shown!r}))").strip()
    options = [each for each in PYTEST if each != "-x"]
    said = run(made, "-m", "pytest", *options, *part.tests, CI="")
    return f"{part.shown} {shown}: {said.strip().splitlines()[-1].strip('= ')}"


def prices() -> str:
    """Our prices beside those of the newest genai-prices and litellm; a difference that has no reason is a finding."""
    made = environment("newest-prices", sys.executable, "-e", ROOT, "genai-prices", "litellm")
    check = [made.parent / "claudetrace", "prices", "--check", "--json"]
    ran = subprocess.run(check, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stderr
    told, new = [], []
    for opinion in json.loads(ran.stdout)["opinions"]:
        told.append(f"{opinion['source']} {opinion['version']}: {opinion['compared']} models compared")
        new += [each for each in opinion["differences"] if not each["known"] and each["model"] not in LEFT_OUT]
    assert not new, f"differences without a reason: {json.dumps(new, indent=1)}"
    return ", ".join(told)


def reports() -> str:
    """The public reports of wrong costs, put to the newest price lists."""
    said = run(sys.executable, ROOT / "tests" / "conformance" / "run.py", PYTHONPATH=str(ROOT))
    return "; ".join(line.replace("*", "").strip("| ") for line in said.strip().splitlines()[-2:])


def main() -> int:
    """0 if nothing was found."""
    report = Report()
    Path(KEPT).mkdir(exist_ok=True)
    for part in PARTS:
        report.step(part.name, lambda part=part: tested(part))
    report.step("price lists", prices)
    report.step("reports of wrong costs", reports)
    print("\n".join(lines(report)))
    return int(bool(report.findings))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stdout}")
