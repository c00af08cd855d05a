"""The seam's tests on each version of the anthropic SDK that is promised, and a table of how they end.

Each version has an environment in `.matrix/`; a second run installs nothing but the project itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import _passed  # noqa: E402 - the tests' own module comes from the path set above

MATRIX = ROOT / ".matrix"
VERSIONS = ("0.73.0", "0.84.0", "0.125.0", "1.0.0", "1.17.0", "2.0.0", "newest")
NEEDED = (
    *("pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "hypothesis", "cloudpickle"),
    *("brotli", "zstandard", "backports.zstd"),
)
AGENTS = ("0.1.51", "newest")
"""The versions of the Agent SDK: the oldest whose own CLI writes down what it uses in full, and the newest."""
TESTS = ("tests/seam", "tests/pricing/test_recordings.py", "tests/telemetry/spans")
NOT_AVAILABLE = "not available"


@dataclass(slots=True)
class Result:
    """How one version's tests ended."""

    version: str
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def main() -> int:
    """Runs all versions, or the named ones; 1 if a test failed, or none ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help=f"by default {', '.join(VERSIONS)}")
    parser.add_argument("-n", "--workers", default="2", help="how many processes run the tests")
    parser.add_argument("--agents", action="store_true", help="the versions of the Agent SDK alone, or too")
    given = parser.parse_args()
    MATRIX.mkdir(exist_ok=True)
    versions = given.versions or (() if given.agents else VERSIONS)
    results = [run(version, given.workers) for version in versions]
    if versions == VERSIONS or given.agents:
        results += [run_agents(version, given.workers) for version in AGENTS]
    print_table(results)
    return int(any(result.failed or not result.counts["passed"] for result in results))


def run(version: str, workers: str) -> Result:
    """How the seam's tests end on this version of the SDK."""
    return tested(version, environment(version, f"anthropic[bedrock,vertex]{pinned(version)}"), TESTS, workers)


def run_agents(version: str, workers: str) -> Result:
    """How the tests of agents end on this version of the Agent SDK."""
    name = f"agent-sdk-{version}"
    python = environment(name, f"claude-agent-sdk{pinned(version)}")
    # What older versions leave open is theirs.
    return tested(name, python, ("tests/agents",), workers, "-W", "ignore")


def pinned(version: str) -> str:
    return "" if version == "newest" else f"=={version}"


def tested(name: str, python: Path, tests: tuple[str, ...], workers: str, *further: str) -> Result:
    """How these tests end in an environment."""
    package = "claude-agent-sdk" if name.startswith("agent") else "anthropic"
    installed = [python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    told = subprocess.run(installed, check=True, capture_output=True, text=True).stdout.strip()
    result = Result(told if package == "anthropic" else f"agents {told}")
    say(f"running the tests on {package} {told}")
    report = MATRIX / f"{name}.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "-n", workers, "-p", "no:cacheprovider", f"--junitxml={report}", *further]
    output = subprocess.run(
        [python, "-m", "pytest", *tests, *options], cwd=ROOT, check=False, capture_output=True, text=True
    )
    (MATRIX / f"{name}.log").write_text(output.stdout + output.stderr)
    if report.exists():
        read(report, result)
    if output.returncode and not result.failed:
        result.failed.append(f"pytest ended with {output.returncode}; see {MATRIX / f'{name}.log'}")
    if result.failed:
        print(*_passed.changes(f"matrix/{name}", python), sep="\n", flush=True)
    else:
        _passed.remember(f"matrix/{name}", python, f"{result.counts['passed']} passed")
    return result


def environment(name: str, wanted: str) -> Path:
    """The Python of an environment with the `wanted` package and the project."""
    folder = MATRIX / name
    python = folder / "bin" / "python"
    if not python.exists():
        say(f"making {folder.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # Without the option the newest would be what was the newest when the environment was made.
    subprocess.run([*pip, "-U", "-e", ROOT, wanted, *NEEDED], check=True)
    return python


def read(report: Path, result: Result) -> None:
    """Counts the tests of a JUnit report."""
    for case in ElementTree.parse(report).iter("testcase"):
        ended = {part.tag: part for part in case}
        if "failure" in ended or "error" in ended:
            result.counts["failed"] += 1
            result.failed.append(f"{case.get('classname')}::{case.get('name')}")
        elif "skipped" in ended:
            why = ended["skipped"].get("message") or ""
            result.counts[NOT_AVAILABLE if why.startswith(NOT_AVAILABLE) else "skipped"] += 1
            result.skipped[why] += 1
        else:
            result.counts["passed"] += 1


def print_table(results: list[Result]) -> None:
    """A line a version, and below it what failed and what was skipped."""
    columns = ("passed", "failed", NOT_AVAILABLE, "skipped")
    print(f"{'anthropic':<12}" + "".join(f"{column:>15}" for column in columns))
    for result in results:
        print(f"{result.version:<12}" + "".join(f"{result.counts[column]:>15}" for column in columns))
    for result in results:
        for test in result.failed:
            print(f"{result.version}: failed: {test}")
        for why, count in result.skipped.items():
            if not why.startswith(NOT_AVAILABLE):
                print(f"{result.version}: {count} skipped: {why}")


def say(what: str) -> None:
    """Tells what goes on, in a run of minutes."""
    print(f"matrix: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
