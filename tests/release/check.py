"""What a release has to pass, from the sources to the installed wheel: `make release-check`.

Builds the source distribution and the wheel, looks at what is in them, installs the wheel into fresh environments on
every Python from 3.11 to 3.14 that is there, with the lowest and with the newest dependencies, runs the fast part of
the tests against it, and writes what belongs to a release into `.release/dist`.

`PYTHONS="python3.12 /opt/python/bin/python3.13"` names the Pythons to use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
KEPT = ROOT / ".release"
DIST = KEPT / "dist"
TOOLS = ("build", "twine", "cyclonedx-bom")
MINORS = (11, 12, 13, 14)
TESTERS = (
    "anthropic[bedrock,vertex]",
    "pytest>=8.3",
    "pytest-asyncio>=0.25",
    "pytest-timeout>=2.4",
    "hypothesis>=6.100",
)
FAST = (
    *("tests/pricing/test_golden_prices.py", "tests/conformance", "tests/tags"),
    *("tests/settings/test_wrong.py", "tests/settings/test_running.py", "tests/ledger/test_read.py"),
    *(
        "tests/seam/test_kinds.py",
        "tests/cli/test_report.py",
        "tests/dashboards/test_pages.py",
        "tests/budgets/test_calls.py",
    ),
)
PYTEST = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore", "--timeout", "300")
FREE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla|Unlicense|0BSD|Zlib|Public Domain", re.IGNORECASE
)
OF_WHEEL = {"claudetrace_dashboards/datasette.yaml": "dashboards/datasette.yaml"}
PACKAGES = {"claudetrace": "claudetrace", "claudetrace_dashboards": "dashboards/claudetrace_dashboards"}


@dataclass(slots=True)
class Report:
    """The steps with their time and outcome, and what was found wrong."""

    steps: list[tuple[str, float, str]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], str]) -> None:
        """Runs one step and notes how it went. Another step may still go well after it failed."""
        print(f"release: {name}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        try:
            said = work()
        except (AssertionError, subprocess.CalledProcessError, OSError) as error:
            said = "failed"
            output = getattr(error, "stdout", None) or ""
            self.findings.append(f"{name}: {error}\n{output[-3000:]}")
        self.steps.append((name, time.perf_counter() - began, said))


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> str:
    """What a command says. Raises with all of it if the command fails."""
    # No setting of this machine's own leads to the sources or to another environment.
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    ran = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**kept, **variables},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise subprocess.CalledProcessError(ran.returncode, ran.args, ran.stdout)
    return ran.stdout


def environment(name: str, python: str | Path, *install: str | Path) -> Path:
    """The Python of a new environment with these packages."""
    folder = KEPT / name
    run(python, "-m", "venv", "--clear", folder)
    made = folder / "bin" / "python"
    run(made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *install)
    return made


def pythons() -> dict[str, str]:
    """Each Python from 3.11 to 3.14 that is there, by its version."""
    given = os.environ.get("PYTHONS", "").split()
    kept = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    names = given or [sys.executable, *(f"python3.{minor}" for minor in MINORS), *map(str, kept)]
    found: dict[str, str] = {}
    for name in names:
        told = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            ran = subprocess.run([name, "-c", told], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            if given:
                sys.exit(f"PYTHONS names {name}, which cannot be run: {error}")
            continue
        if ran.stdout.strip() in {f"3.{minor}" for minor in MINORS}:
            found.setdefault(ran.stdout.strip(), name)
    return dict(sorted(found.items(), key=lambda each: int(each[0].split(".")[1])))


def project() -> dict[str, object]:
    parsed: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return parsed


def version() -> str:
    """The version, from the one place that says it."""
    found = re.search(r'__version__ = "([^"]+)"', (ROOT / "claudetrace" / "_version.py").read_text())
    assert found, "claudetrace/_version.py has no __version__"
    return found[1]


def build(tools: Path) -> str:
    """Both distributions: the source distribution from the tree, the wheel from the source distribution."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(tools, "-m", "build", "--outdir", DIST)
    names = sorted(path.name for path in DIST.iterdir())
    assert names == [f"claudetrace-{version()}-py3-none-any.whl", f"claudetrace-{version()}.tar.gz"], names
    return ", ".join(f"{path.name} {path.stat().st_size / 1e3:,.0f} kB" for path in sorted(DIST.iterdir()))


def wheel() -> Path:
    return next(DIST.glob("*.whl"))


def tracked(*folders: str) -> set[str]:
    """The files of these folders that are under version control, or all of them where there is none."""
    if (ROOT / ".git").exists():
        return set(run("git", "ls-files", "--", *folders).splitlines())
    files = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def contents() -> str:
    """The wheel has each file of the two packages, the same to the byte, its own metadata, and nothing else."""
    expected = {
        name.replace(folder, package, 1): name for package, folder in PACKAGES.items() for name in tracked(folder)
    }
    expected |= OF_WHEEL
    with zipfile.ZipFile(wheel()) as opened:
        there = {name for name in opened.namelist() if ".dist-info/" not in name}
        information = sorted(name.split("/", 1)[1] for name in opened.namelist() if ".dist-info/" in name)
        assert there == set(expected), f"not as the tree: {sorted(there ^ set(expected))}"
        changed = [name for name, source in expected.items() if opened.read(name) != (ROOT / source).read_bytes()]
    assert not changed, f"another content than in the tree: {changed}"
    assert information == ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"], information
    (DIST.parent / "wheel.txt").write_text("\n".join(sorted(there)) + "\n")
    return f"{len(there)} files, as in the tree"


def source_contents() -> str:
    """The source distribution has what is under version control of the folders that it names, and can run the tests."""
    with tarfile.open(next(DIST.glob("*.tar.gz"))) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
        opened.extractall(KEPT / "source", filter="data")
    wanted = tracked("claudetrace", "dashboards", "docs", "examples", "tests")
    assert not wanted - names, f"missing: {sorted(wanted - names)}"
    more = {name for name in names - wanted if (ROOT / name).is_dir() is False}
    allowed = {"PKG-INFO", ".gitignore", "pyproject.toml", "README.md", "LICENSE", "Makefile", "CHANGELOG.md"}
    allowed |= {"CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff"}
    assert more <= allowed, f"not expected: {sorted(more - allowed)}"
    return f"{len(names)} files"


def reproducible(tools: Path) -> str:
    """A wheel built from the tree is the same, byte by byte, as the one built from the source distribution."""
    again = KEPT / "again"
    shutil.rmtree(again, ignore_errors=True)
    run(tools, "-m", "build", "--wheel", "--outdir", again)
    assert wheel().read_bytes() == (again / wheel().name).read_bytes(), "the two wheels differ"
    return "the same bytes from the tree and from the source distribution"


def release_notes() -> str:
    """The changelog begins with this version, each of its links leads somewhere, and a tag says the same version."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    first = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert first, "CHANGELOG.md has no version"
    assert first[1] == version(), f"CHANGELOG.md begins with {first[1]}, the package is {version()}"
    links = re.findall(r"\]\(([^)#]+)", changelog)
    gone = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not gone, f"CHANGELOG.md links to what is not there: {gone}"
    tag = os.environ.get("GITHUB_REF_NAME", "") if os.environ.get("GITHUB_REF_TYPE") == "tag" else ""
    assert tag in {"", f"v{version()}"}, f"the tag is {tag}, the package {version()}"
    notes = changelog.split("\n## ")[1].partition("\n")[2].strip()
    (KEPT / "notes.md").write_text(notes + "\n")
    return f"{version()}, {len(notes.splitlines())} lines, {len(links)} links"


def lowest() -> Path:
    """Constraints that hold each direct dependency at the lowest version that the project allows on this Python."""
    file = KEPT / "lowest.txt"
    wanted: list[str] = [str(each) for each in project()["dependencies"]]  # type: ignore[attr-defined]
    file.write_text("".join(f"{each.replace('>=', '==')}\n" for each in wanted))
    return file


def tested(python: str, name: str, which: str) -> str:
    """The fast part of the tests of the source distribution, which has no package beside it, against the wheel."""
    constraints = ("-c", lowest()) if which == "lowest" else ("--upgrade",)
    made = environment(f"{name}-{which}", python, wheel(), *TESTERS, *constraints)
    source = next((KEPT / "source").iterdir())
    for package in PACKAGES.values():
        shutil.rmtree(source / package, ignore_errors=True)
    where = "import claudetrace, claudetrace_dashboards; print(claudetrace.__file__)"
    assert str(KEPT / f"{name}-{which}") in run(made, "-c", where, cwd=source), "not the installed wheel"
    run(made.parent / "claudetrace", "demo", "--no-serve", "--db", KEPT / f"{name}-{which}" / "demo.db", cwd=source)
    said = run(made, "-m", "pytest", *PYTEST, *FAST, cwd=source, CI="")
    summary = said.strip().splitlines()[-1].strip("= ")
    sdk = run(made, "-c", "import anthropic; print(anthropic.__version__)").strip()
    return f"anthropic {sdk}: {summary}"


def licences(python: Path) -> str:
    """Every package that comes with the wheel has a licence that lets anybody use it."""
    found: dict[str, str] = json.loads(run(python, HERE / "_licences.py"))
    others = {name: licence for name, licence in found.items() if not FREE.search(licence)}
    assert not others, f"licences to look at: {others}"
    (DIST.parent / "licences.txt").write_text("".join(f"{name}: {text}\n" for name, text in sorted(found.items())))
    return f"{len(found)} packages, all permissive or MPL"


def bill_of_materials(tools: Path, python: Path) -> str:
    """What an installation consists of, as CycloneDX, checked against its schema by the tool that writes it."""
    file = DIST / "bom.cdx.json"
    program = tools.parent / "cyclonedx-py"
    run(program, "environment", python, "--pyproject", ROOT / "pyproject.toml", "--of", "JSON", "-o", file)
    parts = json.loads(file.read_text())["components"]
    return f"{file.name}, {len(parts)} components"


def lines(report: Report) -> Iterator[str]:
    for name, took_s, said in report.steps:
        yield f"{name:<34}{took_s:>8.1f} s  {said}"
    yield f"{'all':<34}{sum(took_s for _, took_s, _ in report.steps):>8.1f} s"
    yield from (f"\nFINDING {finding}" for finding in report.findings)


def main() -> int:
    """0 if nothing was found."""
    report = Report()
    KEPT.mkdir(exist_ok=True)
    shutil.rmtree(KEPT / "source", ignore_errors=True)
    tools = KEPT / "tools" / "bin" / "python"
    plain = KEPT / "plain" / "bin" / "python"
    report.step("tools", lambda: environment("tools", sys.executable, *TOOLS) and ", ".join(TOOLS))
    report.step("build", lambda: build(tools))
    report.step("wheel's contents", contents)
    report.step("source distribution's contents", source_contents)
    report.step("reproducible", lambda: reproducible(tools))
    report.step(
        "twine check", lambda: run(tools, "-m", "twine", "check", "--strict", *DIST.glob("claudetrace*")) and "passed"
    )
    report.step("version and changelog", release_notes)
    report.step("installed alone", lambda: str(environment("plain", sys.executable, wheel())) and "")
    report.step("licences", lambda: licences(plain))
    report.step("bill of materials", lambda: bill_of_materials(tools, plain))
    if not (there := pythons()):
        sys.exit("no Python from 3.11 to 3.14 is here to try the wheel on")
    for name, python in there.items():
        for which in ("lowest", "newest"):
            report.step(
                f"Python {name}, {which}", lambda python=python, name=name, which=which: tested(python, name, which)
            )
    print("\n".join(lines(report)))
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
