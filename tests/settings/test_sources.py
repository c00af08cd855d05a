"""Where settings come from: keyword > environment > claudetrace.toml > default."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import claudetrace
from claudetrace._config import Settings, resolve

FILE = Path("claudetrace.toml")


def test_the_keyword_wins_over_the_environment_over_the_file_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The strongest source that says something is heard; the default only where none does."""
    told = [resolve({"db": tmp_path / "keyword.db"}).spans]
    FILE.write_text('spans = "off"\ndb = "file.db"\n')
    told += [resolve({}).spans, resolve({}).db]
    monkeypatch.setenv("CLAUDETRACE_SPANS", "own")
    monkeypatch.setenv("CLAUDETRACE_DB", str(tmp_path / "environment.db"))
    told += [resolve({}).spans, resolve({}).db]
    with claudetrace.instrument(spans="auto", db=tmp_path / "keyword.db") as running:
        told += [running.settings.spans, running.settings.db]

    assert told == [
        "auto",
        *("off", Path.cwd() / "file.db"),
        *("own", tmp_path / "environment.db"),
        *("auto", tmp_path / "keyword.db"),
    ]


def test_a_file_may_say_everything_that_has_a_text(tmp_path: Path) -> None:
    """Each setting of a file that was named comes where its keyword would."""
    FILE.write_text(
        'db = "ledger.db"\nhash_tags = ["user"]\nhash_key = "k"\nspans = "own"\nattributes = "standard"\n'
        'metrics = false\nbaggage = ["customer"]\nretention = "2w"\nmax_db_mb = 50\n'
        '[tags]\nteam = "search"\nbuild = 7\n[platforms]\nfoundry_data_zone = "us"\n'
    )

    assert resolve({"config": FILE}) == Settings(
        db=Path.cwd() / "ledger.db",
        tags={"team": "search", "build": "7"},
        hash_tags=("user",),
        hash_key="k",
        spans="own",
        attributes="standard",
        metrics=False,
        baggage=("customer",),
        retention_days=14.0,
        max_db_mb=50.0,
        foundry_data_zone="us",
    )


def test_a_file_is_found_by_name_by_variable_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config=` wins over `CLAUDETRACE_CONFIG`, which wins over the working directory; only one file is read."""
    named, by_variable = tmp_path / "named.toml", tmp_path / "variable.toml"
    for path, team in ((FILE, "working directory"), (by_variable, "variable"), (named, "named")):
        path.write_text(f'[tags]\nteam = "{team}"\n')
    teams = [resolve({}).tags["team"]]
    monkeypatch.setenv("CLAUDETRACE_CONFIG", str(by_variable))
    teams += [resolve({}).tags["team"], resolve({"config": named}).tags["team"]]

    assert teams == ["working directory", "variable", "named"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"color = 1\n",
            r"claudetrace\.toml has unknown settings: color; known are agents, alert_to, ",
        ),
        (b"[tag]\nteam = 1\n", r"claudetrace\.toml has unknown settings: tag; known are "),
        (b"db = \n", r"config='claudetrace\.toml' cannot be read: Invalid value"),
        (b"db = '\xff'\n", r"config='claudetrace\.toml' cannot be read: .*utf-8"),
        (b"db = 7\n", r"db in claudetrace\.toml=7 cannot be used: give a path"),
        (b"tags = 7\n", r"tags in claudetrace\.toml=7 cannot be used"),
        (b"spans = 'none'\n", r"spans in claudetrace\.toml='none' cannot be used: give one of auto, own, off"),
        (b"[platforms]\nregion = 'eu'\n", r"\[platforms\] in claudetrace\.toml=.*foundry_data_zone"),
    ],
)
def test_a_broken_file_is_refused_by_its_name(content: bytes, said: str) -> None:
    """An unknown key, a wrong value and what is no TOML raise, naming the file and the key."""
    FILE.write_bytes(content)
    with pytest.raises(claudetrace.ClaudetraceError, match=said):
        claudetrace.instrument()


def test_a_named_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was named must be there; the one of the working directory need not."""
    resolve({})
    with pytest.raises(claudetrace.ClaudetraceError, match=r"config='missing\.toml' cannot be read"):
        resolve({"config": "missing.toml"})
    monkeypatch.setenv("CLAUDETRACE_CONFIG", "also-missing.toml")
    with pytest.raises(claudetrace.ClaudetraceError, match=r"config='also-missing\.toml' cannot be read"):
        resolve({})


def test_under_pytest_nothing_goes_to_the_default_ledger() -> None:
    """An `instrument()` without a name keeps its ledger in a temporary folder of the process."""
    with claudetrace.instrument() as running:
        db = running.settings.db

    assert db is not None
    assert db.is_relative_to(tempfile.gettempdir())
    assert db.parent.name.startswith("claudetrace-pytest-")


DEFAULT = """
import logging, claudetrace
logging.basicConfig(format="%(levelname)s %(message)s")
print(claudetrace.instrument().settings.db)
"""


def run_default(home: Path, **variables: str) -> tuple[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "XDG_"))}
    environment |= {"HOME": str(home), **variables}
    ended = subprocess.run([sys.executable, "-c", DEFAULT], env=environment, capture_output=True, text=True, check=True)
    return ended.stdout.strip(), ended.stderr


def test_the_default_ledger_is_in_the_users_data_folder(tmp_path: Path) -> None:
    """Outside pytest the ledger is `ledger.db` in the data folder of claudetrace, and nothing is said about it."""
    place, said = run_default(tmp_path)

    assert (Path(place).is_relative_to(tmp_path), Path(place).parts[-2:], said) == (
        True,
        ("claudetrace", "ledger.db"),
        "",
    )


def test_an_unwritable_data_folder_falls_back_with_a_warning(tmp_path: Path) -> None:
    """Where the data folder cannot be, a temporary folder is the ledger's place, said in one warning."""
    blocked, temporary = tmp_path / "home", tmp_path / "temporary"
    blocked.write_text("a file where a folder should be")
    temporary.mkdir()
    place, said = run_default(blocked, TMPDIR=str(temporary))

    assert place == str(temporary / f"claudetrace-{os.getuid()}" / "ledger.db")
    assert said.startswith("WARNING claudetrace cannot write to ")
    assert said.count("\n") == 1


def test_resource_columns_come_from_opentelemetrys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service, environment and instance are read as OpenTelemetry writes them; what UTF-8 cannot hold is replaced."""
    from claudetrace._places import resource

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=my%20app,deployment.environment.name=pr\udcffd,x")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", os.environ["OTEL_RESOURCE_ATTRIBUTES"] + ",service.instance.id=i-7")

    assert resource() == {"service": "my app", "environment": "pr?d", "instance": "i-7"}


def test_the_kill_switch_does_nothing_at_all(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `CLAUDETRACE_ENABLED=false` `instrument()` starts nothing, and all that it returns still works."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "false")
    with claudetrace.instrument(db=db, tags={"team": "search"}) as off:
        answers = off.active, off.flush(), claudetrace.flush(), off.health.recorded

    assert (answers, db.exists(), claudetrace._instrument.running()) == ((False, True, True, 0), False, None)


def test_a_kill_switch_that_is_misspelled_is_refused(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is neither on nor off is not taken for on."""
    monkeypatch.setenv("CLAUDETRACE_ENABLED", "flase")

    with pytest.raises(claudetrace.ClaudetraceError, match=r"CLAUDETRACE_ENABLED='flase' .* true or false"):
        claudetrace.instrument(db=db)


def test_the_temporary_ledger_is_for_its_owner_alone(tmp_path: Path) -> None:
    """In a folder that everybody writes to, others may neither read the ledger nor put theirs in its place."""
    blocked, temporary = tmp_path / "home", tmp_path / "temporary"
    blocked.write_text("a file where a folder should be")
    temporary.mkdir()
    place = Path(run_default(blocked, TMPDIR=str(temporary))[0])
    assert place.parent.stat().st_mode & 0o077 == 0

    place.parent.rmdir()
    place.parent.symlink_to(tmp_path)
    elsewhere = Path(run_default(blocked, TMPDIR=str(temporary))[0])

    assert elsewhere.parent not in (place.parent, tmp_path)


def test_settings_are_said_at_debug_level_at_most(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A meter that starts and ends well says nothing."""
    with caplog.at_level(logging.INFO, "claudetrace"), claudetrace.instrument(db=db):
        pass

    assert caplog.messages == []
