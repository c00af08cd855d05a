"""A `claudetrace collect` of the tests' own, in a process that can be killed and started again."""

from __future__ import annotations

import gzip
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from _postgres import free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

PATIENCE_S = 60
PROTOBUF = "application/x-protobuf"


class Collecting:
    """The process. `url` stays the same over restarts."""

    def __init__(self, db: Path, *options: str, host: str = "127.0.0.1", **environment: str) -> None:
        self.db, self.port, self.options = db, free_port(), options
        self.url = f"http://127.0.0.1:{self.port}"
        self._host = host
        self._environment = {**os.environ, **environment}
        self.start()

    def start(self) -> None:
        words = ["collect", "--listen", f"{self._host}:{self.port}", "--db", str(self.db), *self.options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "claudetrace", *words],
            env=self._environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for(lambda: self.process.poll() is not None or self._answers())
        assert self.process.poll() is None, self.process.communicate()[0]

    def _answers(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> str:
        """What it has said, after SIGTERM."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=PATIENCE_S)[0]

    def get(self, path: str) -> tuple[int, str]:
        status, _, body = self.request("GET", path)
        return status, body.decode()

    def post(self, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("POST", "/v1/logs", body, **headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)) as connection:
            told = {"content-type": PROTOBUF} | {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, told)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def ids(self) -> list[str]:
        """The ids in the ledger, in order."""
        return [id_ for (id_,) in ask(self.db, "SELECT id FROM calls ORDER BY id")]


def ask(db: Path, sql: str) -> list[Any]:
    """What the ledger says; nothing while it is being made."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=PATIENCE_S)) as connection:
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            return []
        return connection.execute(sql).fetchall()


def wait_for(what: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    until = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def body(*rows: dict[str, Any], packed: bool = False) -> bytes:
    """A request with these rows, written by hand."""
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add().scope_logs.add().log_records
    for row in rows:
        record = logs.add()
        for name, value in row.items():
            attribute = record.attributes.add()
            attribute.key = f"claudetrace.{name}"
            kind = {str: "string_value", int: "int_value", float: "double_value", bool: "bool_value"}[type(value)]
            setattr(attribute.value, kind, value)
    whole = request.SerializeToString()
    return gzip.compress(whole) if packed else whole


def told(answer: bytes) -> tuple[int, str]:
    """How many records were rejected, and why."""
    partial = ExportLogsServiceResponse.FromString(answer).partial_success
    return partial.rejected_log_records, partial.error_message
