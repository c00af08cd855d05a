"""`claudetrace run`: what Python would do, and the meter on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claudetrace._demo import _answers
from claudetrace._demo._server import PlayServer

from ._programs import APP, CALL, RUN, Shell

TOLD = "import os, sys; print(__name__, sys.argv, sys.path, sys.flags, os.getcwd(), sys.stdin.read())"
PROGRAMS = {
    "a file": ("app.py",),
    "a file with options": ("app.py", "--help", "-m", "x", "--", "-c", ""),
    "a file in a folder": ("inner/app.py", "x"),
    "a folder": ("whole", "x"),
    "a module": ("-m", "app", "-h", "--version"),
    "a module, written together": ("-mapp", "x"),
    "a package": ("-m", "whole"),
    "no such file": ("missing.py",),
    "no such module": ("-m", "missing"),
    "-m alone": ("-m",),
    "a file that exits": ("exits.py",),
    "a file that raises": ("raises.py",),
}
WAYS = {
    "a subprocess": 'import subprocess, sys; subprocess.run([sys.executable, "app.py"], check=True)',
    "a subprocess elsewhere": """
import os, subprocess, sys
app = os.path.abspath("app.py")
os.chdir("/")
subprocess.run([sys.executable, app], check=True)
""",
    "a spawned process": """
import multiprocessing, called
if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=called.call)
    process.start(); process.join()
    raise SystemExit(process.exitcode)
""",
    "a process of a server of forks": """
import multiprocessing, called
if __name__ == "__main__":
    process = multiprocessing.get_context("forkserver").Process(target=called.call)
    process.start(); process.join()
    raise SystemExit(process.exitcode)
""",
    "a forked process": """
import os, called
child = os.fork()
if not child:
    called.call()
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
""",
    "a changed folder": 'import os; os.chdir("/"); import called; called.call()',
}


@pytest.fixture
def shell(server: PlayServer, tmp_path: Path) -> Shell:
    server.add(_answers.answer(times=None))
    shell = Shell(tmp_path, server.url)
    for name in ("app.py", "inner/app.py", "whole/__main__.py"):
        shell.write(name, TOLD)
    shell.write("whole/__init__.py", "")
    shell.write("exits.py", "raise SystemExit(7)")
    shell.write("raises.py", "raise ValueError('no')")
    return shell


@pytest.mark.parametrize("command", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_runs_as_python_would_run_it(shell, command):
    """Name, arguments, search path, standard streams and exit status are Python's own."""
    assert _run_both(shell, *command)


@pytest.mark.parametrize("path", ["", "one:two", ":one", "one::"])
def test_the_search_path_is_pythons(shell, path):
    """What `PYTHONPATH` names is there as Python would have it, and nothing of ours."""
    shell.variables["PYTHONPATH"] = path

    assert _run_both(shell, "app.py")


def _run_both(shell: Shell, *command: str) -> bool:
    """Whether a program says and ends the same with us and without."""
    metered, plain = shell.run(*RUN, *command, say="typed"), shell.run(sys.executable, *command, say="typed")
    assert (metered.returncode, metered.stdout, metered.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    return True


@pytest.mark.parametrize("command", [("app.py",), ("-m", "app")], ids=["file", "module"])
def test_a_program_without_code_of_ours_is_metered(shell, command):
    """Its call is a row, of the program's name."""
    shell.write("app.py", APP)
    ran = shell.run(*RUN, *command)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [(row.outcome, row.service) for row in shell.rows()] == [("ok", "app.py")]


@pytest.mark.parametrize("way", WAYS)
def test_the_processes_of_a_program_are_metered(shell, way):
    """A call of a child of any kind, or in another folder, is one row of the ledger that was named."""
    shell.write("app.py", APP)
    shell.write("called.py", CALL)
    shell.write("parent.py", WAYS[way])
    shell.variables["CLAUDETRACE_DB"] = "ledger.db"
    ran = shell.run(*RUN, "parent.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [row.outcome for row in shell.rows()] == ["ok"]


def test_settings_are_those_of_the_folder_where_it_began(shell):
    """`claudetrace.toml` is found there, though the program goes elsewhere before its first call."""
    shell.write("claudetrace.toml", 'db = "named.db"\ntags = {team = "search"}')
    shell.write("called.py", CALL)
    shell.write("app.py", WAYS["a changed folder"])
    shell.variables["CLAUDETRACE_DB"] = ""
    ran = shell.run(*RUN, "app.py")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert [row.tags for row in shell.rows(shell.folder / "named.db")] == [{"team": "search"}]


def test_a_file_that_nobody_named_stays_that_for_the_program(shell):
    """The settings' file of the folder where `claudetrace run` began gives no more than what is harmless."""
    shell.write("claudetrace.toml", 'max_db_mb = 0.001\nretention = "1m"\ndb = "../else.db"\nbudget_store = "b.db"')
    shell.write("app.py", APP + "import claudetrace\nprint(claudetrace.instrument().settings)")
    ran = shell.run(*RUN, "app.py")

    assert ran.returncode == 0
    assert ("retention_days=None" in ran.stdout, "max_db_mb=None" in ran.stdout) == (True, True)
    assert ran.stderr.count("ignores db, max_db_mb, retention in ") == 2  # `claudetrace run` and its program
    assert [row.outcome for row in shell.rows()] == ["ok"]


def test_gunicorn_is_metered(shell):
    """A web server behind `-m` records the calls of its workers."""
    shell.write(
        "app.py", f"{CALL}\ndef app(environ, start):\n    call()\n    start('200 OK', [])\n    return [b'done']\n"
    )
    command = [*RUN, "-m", "gunicorn", "-w", "2", "-b", "unix:socket", "app:app"]
    with subprocess.Popen(command, cwd=shell.folder, env=shell.environment, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not (shell.folder / "socket").exists() or not _is_done(shell.folder / "socket"):
                assert time.monotonic() < until
                time.sleep(0.02)
            assert all(_is_done(shell.folder / "socket") for _ in range(5))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()

    assert [row.outcome for row in shell.rows()] == ["ok"] * 6


def _is_done(path: Path) -> bool:
    """Whether a request, over a unix socket, was answered."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
        asking.settimeout(60)
        asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return asking.makefile("rb").read().endswith(b"done")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_the_program_itself(shell, number):
    """No process stands between: what is sent to the one that was started ends the program, with Python's status."""
    # The tests may run where it is ignored, as under `nohup … &`.
    handled = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    shell.write("app.py", f"{handled}; print('ready', flush=True)\nwhile True: time.sleep(0.1)")
    statuses = []
    for command in ((*RUN, "app.py"), (sys.executable, "app.py")):
        with subprocess.Popen(
            command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            try:
                statuses.append(process.wait(30))
            finally:
                process.kill()

    assert statuses[0] == statuses[1] != 0


def test_a_sitecustomize_of_the_user_is_loaded_too(shell):
    """The one that ours stands before is loaded as Python would load it; what it raises is told, and no more."""
    source = "import sys; sys.theirs = __name__, __file__; raise ValueError('no')"
    shell.variables["PYTHONPATH"] = str(shell.write("theirs/sitecustomize.py", source).parent)
    shell.write("app.py", f"import sys; print(sys.theirs)\n{APP}")
    # Our own start of it reads that file too, and says so.
    ran, plain = shell.run(*RUN, "app.py"), shell.run(sys.executable, "app.py")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, plain.stdout, plain.stderr * 2)
    assert len(shell.rows()) == 1


def test_a_python_without_claudetrace_is_left_alone(shell):
    """A child in another environment inherits ours and says nothing about it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", shell.folder / "other"], check=True)
    shell.write("child.py", "import sys; print([n for n in sys.modules if 'claudetrace' in n])")
    shell.write("app.py", "import subprocess; subprocess.run(['other/bin/python', 'child.py'], check=True)")
    ran = shell.run(*RUN, "app.py")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")


def test_a_program_that_never_calls_claude_pays_little(shell):
    """Nothing of OpenTelemetry, SQLite or our own machinery is imported in it."""
    heavy = ("typing", "logging", "sqlite3", "opentelemetry", "wrapt", "claudetrace._instrument", "claudetrace._config")
    shell.write("app.py", f"import sys; print([name for name in {heavy!r} if name in sys.modules])")
    shell.variables["PYTHONPATH"] = str(shell.write("theirs/sitecustomize.py", "").parent)

    assert shell.run(*RUN, "app.py").stdout == "[]\n"


def test_wrong_usage_is_told(shell):
    """No program, or an option of Python's in its place: status 2 and what to write."""
    for words, told in (((), "claudetrace run app.py, or claudetrace run -m module"), (("-I", "app.py"), "PYTHON…")):
        ran = shell.run(*RUN, *words)
        assert (ran.returncode, ran.stdout, told in ran.stderr) == (2, "", True)


@pytest.mark.parametrize(
    ("toml", "told"),
    [("spans = 'x'", "give one of auto, own, off"), ("rates = 'none.toml'", "none.toml"), ("[", "cannot be read")],
)
def test_a_setting_that_cannot_be_is_told_before_the_program_starts(shell, toml, told):
    """Status 2, the setting and the way out; the program has not begun."""
    shell.variables["CLAUDETRACE_CONFIG"] = str(shell.write("claudetrace.toml", toml))
    ran = shell.run(*RUN, "app.py")

    assert (ran.returncode, ran.stdout, told in ran.stderr) == (2, "", True)


def test_the_kill_switch_leaves_the_program(shell):
    """With `CLAUDETRACE_ENABLED=false` the program runs, and nothing is recorded."""
    shell.write("app.py", APP)
    shell.variables["CLAUDETRACE_ENABLED"] = "false"

    assert shell.run(*RUN, "app.py").returncode == 0
    assert shell.rows() == []
