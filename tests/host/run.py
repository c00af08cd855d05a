"""The anthropic SDK's own tests, bare and with the meter on: not one more failure than without.

Its tests are in its source distribution. `tests/api_resources` stays out: it needs a mock server that the
distribution lacks. Everything is kept in `.host/`; a second run downloads nothing.

The meter's own spans are what a few of the SDK's tests of its spans forbid: `ABOUT_SPANS` names them. They may fail,
if they pass with the meter on and `spans="off"`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import _passed  # noqa: E402 - the tests' own module comes from the path set above

HOST = ROOT / ".host"
EXTRAS = "aiohttp,aws,bedrock,vertex,google_cloud,mcp,webhooks"
NEEDED = [
    *("respx", "pytest", "pytest-asyncio", "pytest-xdist", "time-machine", "dirty-equals", "importlib-metadata"),
    *("rich", "hypothesis", "inline-snapshot", "http-snapshot[httpx]==0.1.9", "griffe", "packaging"),
    *("opentelemetry-sdk", "boto3-stubs", "ruff"),
]
SPANS = "tests/test_open_telemetry.py"
ABOUT_SPANS = {
    "test_unary_attributes": "the SDK's span has no attributes but the SDK's",
    "test_stop_reason_is_the_one_in_the_response": "the SDK's span has no `gen_ai.response.finish_reasons`",
    "test_raw_response_ends_the_span_with_its_body": "the SDK's span has no usage of a body that the app reads itself",
    "test_async_raw_response_ends_the_span_with_its_body": "as its sync twin",
    "test_raw_response_whose_events_the_application_reads_itself": "the SDK's span has no ids of such a body",
    "test_async_raw_response_whose_events_the_application_reads_itself": "as its sync twin",
    "test_environment_variable_disables_spans": "no span where the SDK's are off",
    "test_environment_is_read_when_the_client_is_constructed": "no span where the SDK's are off",
    "test_platform_clients_read_the_environment_when_they_are_constructed": "no span where the SDK's are off",
    "test_disabled_spans_call_nothing_of_opentelemetry": "no use of OpenTelemetry where the SDK's spans are off",
}
LEFT_OUT = ["--ignore=tests/api_resources", "--ignore=tests/test_detect_breaking_changes.py"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The tests of one run by how they ended, and pytest's closing line."""

    by_test: dict[str, str]
    closing: str

    def named(self, outcome: str) -> set[str]:
        """The tests that ended like this."""
        return {test for test, ended in self.by_test.items() if ended == outcome}


def main() -> int:
    """Runs both; 1 if the meter made a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdk", help="the version of the anthropic SDK; by default the newest")
    parser.add_argument("-n", "--workers", default="2", help="how many processes run the tests")
    parser.add_argument("tests", nargs="*", help="only these of its tests, such as tests/test_streaming.py")
    given = parser.parse_args()
    sdk = given.sdk or newest()
    python = environment(sdk)
    source = sources(sdk)
    tests = given.tests or ["tests"]
    options = [*LEFT_OUT, "-q", "-p", "no:cacheprovider", "-n", given.workers]
    meter = HOST / f"meter-{sdk}"
    bare = run(python, source, "bare", [*tests, *options])
    metered = run(python, source, "metered", ["-p", "meter_plugin", *tests, *options], meter=meter)
    rows = recorded(python, meter)
    worse = compared(bare, metered, allowed=ABOUT_SPANS)
    print(f"{len(metered.by_test)} tests, {rows} rows recorded, {worse} worse with the meter")
    if not given.tests:
        spanless = run(python, source, "no spans", ["-p", "meter_plugin", SPANS, *options], meter=meter, spans="off")
        spanless_worse = compared(bare, spanless, allowed={})
        print(
            f"{len(spanless.by_test)} tests of the SDK's spans with spans='off', {spanless_worse} worse with the meter"
        )
        worse += spanless_worse
    if worse:
        print(*_passed.changes("host", python), sep="\n")
    elif rows and not given.tests:
        _passed.remember("host", python, f"{metered.closing} with the meter, {bare.closing} bare")
    if not rows:
        print("the meter recorded nothing, so this proves nothing")
    return int(worse > 0 or not rows)


def newest() -> str:
    """The newest version of the SDK that the package index has."""
    command = [sys.executable, "-m", "pip", "index", "versions", "anthropic"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return re.findall(r"\((\S+)\)", said)[0]


def environment(sdk: str) -> Path:
    """The Python of an environment with the SDK, what its tests need, and claudetrace."""
    folder = HOST / f"venv-{sdk}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        say(f"making {folder.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, f"anthropic[{EXTRAS}]=={sdk}", *NEEDED], check=True)
        subprocess.run([*pip, "-e", ROOT], check=True)
        ready.touch()
    return python


def sources(sdk: str) -> Path:
    """The SDK's source distribution, unpacked."""
    folder = HOST / f"anthropic-{sdk}"
    if not folder.exists():
        say(f"downloading the sources of anthropic {sdk}")
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
        without_build = [*pip, "--no-binary", ":all:", "-d", HOST, f"anthropic=={sdk}"]
        result = subprocess.run(without_build, check=False, capture_output=True, text=True)
        archive = HOST / f"anthropic-{sdk}.tar.gz"
        if not archive.exists():
            subprocess.run([part for part in without_build if part != "--no-build-isolation"], check=True)
        if not archive.exists():
            raise SystemExit(f"pip left no {archive.name} in {HOST}: {result.stderr}")
        with tarfile.open(archive) as opened:
            opened.extractall(HOST, filter="data")
    return folder


def run(
    python: Path, source: Path, name: str, options: list[str], *, meter: Path | None = None, spans: str = "auto"
) -> Outcome:
    """How the SDK's tests end with these options."""
    say(f"running the SDK's tests, {name}")
    report = HOST / f"{name}.xml"
    report.unlink(missing_ok=True)
    told = {
        "PYTHONPATH": str(Path(__file__).parent),
        "CLAUDETRACE_HOST_FOLDER": str(meter or ""),
        "CLAUDETRACE_SPANS": spans,
    }
    output = subprocess.run(
        # Our own plugin for users' tests has no part in this: what is measured is the seam.
        [python, "-m", "pytest", "-p", "no:claudetrace", *options, f"--junitxml={report}"],
        cwd=source,
        env={**os.environ, **told},
        check=False,
        capture_output=True,
        text=True,
    )
    (HOST / f"{name}.log").write_text(output.stdout + output.stderr)
    lines = output.stdout.strip().splitlines()
    closing = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "no result")
    print(f"{name:>8}: {closing}", flush=True)
    if not report.exists():
        raise SystemExit(f"pytest made no report; see {HOST / f'{name}.log'}")
    return Outcome(by_test=outcomes(report), closing=closing)


def outcomes(report: Path) -> dict[str, str]:
    """Each test of a JUnit report with `passed`, `failed`, `error` or `skipped`."""
    words = {"failure": "failed", "error": "error", "skipped": "skipped"}
    ended = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = next((words[part.tag] for part in case if part.tag in words), "passed")
        ended[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return ended


def recorded(python: Path, meter: Path) -> int:
    """How many rows the metered run has left: none would mean that it was not metered."""
    count = "import sys, claudetrace; print(sum(len(claudetrace.Ledger(p).calls(limit=10**9)) for p in sys.argv[1:]))"
    ledgers = sorted(meter.glob("*/ledger.db"))
    output = subprocess.run([python, "-c", count, *ledgers], check=True, capture_output=True, text=True)
    return int(output.stdout)


def compared(bare: Outcome, metered: Outcome, *, allowed: dict[str, str]) -> int:
    """Prints each difference; how many are for the worse and not among those that are `allowed`."""
    worse = 0
    for test, after in sorted(metered.by_test.items()):
        before = bare.by_test.get(test, "absent")
        if before == after:
            continue
        why = allowed.get(test.rpartition("::")[2].partition("[")[0])
        worse += after != "passed" and why is None
        print(f"  {test}: {before} bare, {after} with the meter{f' ({why})' if why else ''}")
    return worse


def say(what: str) -> None:
    """Tells what goes on, in a run of minutes."""
    print(f"host: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
