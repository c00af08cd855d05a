"""`Link`: one connection to a PostgreSQL server, on which each question has a time-out of the client's own."""

from __future__ import annotations

import json
import os
import select
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from claudetrace._budgets._postgres._url import ServerError, ServerUrl
from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import pq

CONNECT_S = 2.0
"""How long to wait for a connection, where the URL has no `connect_timeout`."""
_READ, _WRITE = select.POLLIN, select.POLLOUT
_BOTH = _READ | _WRITE


class Link:
    """Connects when it is first asked, and again after whatever went wrong. One thread at a time may use it.

    On libpq itself: what psycopg adds (types, prepared statements, transactions) is not needed, and it has no time-out
    for a server that does not answer.
    """

    def __init__(self, url: ServerUrl) -> None:
        self.url = url
        self._connection: pq.abc.PGconn | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def call(self, function: str, said: Mapping[str, Any], timeout_s: float) -> Any:
        """What the function of our schema answers. Raises `ServerError`; whatever is raised, the next call connects
        again, unless the server has answered with an error."""
        return self.execute(f"SELECT claudetrace.{function}($1::jsonb)", [json.dumps(said)], timeout_s)

    def execute(self, sql: str, values: list[str] | None, timeout_s: float) -> Any:
        """The JSON of the first column of the first row, or `None`."""
        try:
            connection = self._connection or self._connect()
            end = monotonic() + timeout_s
            if values is None:
                connection.send_query(sql.encode())
            else:
                connection.send_query_params(sql.encode(), [each.encode() for each in values])
            while connection.flush():
                self._wait(connection, _BOTH, end)
                connection.consume_input()
            answered = self._results(connection, end)
        except BaseException as error:
            self.drop()
            if isinstance(error, ServerError) or not isinstance(error, Exception):
                raise
            raise self.url.fault(error, answered=False, closed=True) from None
        return self._value(answered)

    def _results(self, connection: pq.abc.PGconn, end: float) -> list[pq.abc.PGresult]:
        found: list[pq.abc.PGresult] = []
        while True:
            while connection.is_busy():
                self._wait(connection, _READ, end)
                connection.consume_input()
            if (each := connection.get_result()) is None:
                return found
            found.append(each)

    def _value(self, results: list[pq.abc.PGresult]) -> Any:
        from psycopg import pq

        for each in results:
            if each.status == pq.ExecStatus.FATAL_ERROR:
                state = (each.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
                told = (each.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace")
                if self._connection is not None and self._connection.status != pq.ConnStatus.OK:
                    self.drop()
                raise self.url.fault(told, state=state, answered=self.is_open, closed=not self.is_open)
        last = results[-1] if results else None
        value = last.get_value(0, 0) if last is not None and last.ntuples and last.nfields else None
        return None if value is None else json.loads(value)

    def _connect(self) -> pq.abc.PGconn:
        from psycopg import pq

        end = monotonic() + (self.url.connect_s or CONNECT_S)
        connection = pq.PGconn.connect_start(self.url.conninfo())
        self._connection = connection
        state: int = pq.PollingStatus.WRITING
        while state not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            if connection.status == pq.ConnStatus.BAD:
                break
            self._wait(connection, _READ if state == pq.PollingStatus.READING else _WRITE, end)
            state = connection.connect_poll()
        if state != pq.PollingStatus.OK:
            raise self.url.fault(connection.error_message.decode(errors="replace"), answered=False)
        connection.nonblocking = 1
        return connection

    def _wait(self, connection: pq.abc.PGconn, events: int, end: float) -> None:
        ready = select.poll()
        ready.register(connection.socket, events)
        if not ready.poll(max(0.0, end - monotonic()) * 1000):
            raise self.url.fault("it does not answer in time", answered=False)

    def drop(self) -> None:
        """Closes the connection, and asks nothing of the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()

    def abandon(self) -> None:
        """In a forked child: leaves the connection to the parent, which goes on with it. psycopg does not end what
        another process has begun."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, connection.socket)
                os.close(nowhere)


@contextmanager
def linked(url: ServerUrl) -> Iterator[Link]:
    """A connection for as long as the block takes."""
    link = Link(url)
    try:
        yield link
    finally:
        link.drop()
