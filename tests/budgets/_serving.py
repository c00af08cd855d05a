"""The budgets' verbs on a PostgreSQL server, by a clock that tests set."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import psycopg
from _keeping import Kept
from test_store import NOON

from claudetrace._budgets._postgres import _store
from claudetrace._budgets._postgres._url import ServerUrl

if TYPE_CHECKING:
    from claudetrace._budgets._postgres._store import PostgresStore

SET_CLOCK = """
    DROP TABLE IF EXISTS claudetrace.test_clock;
    CREATE TABLE claudetrace.test_clock (at double precision);
    INSERT INTO claudetrace.test_clock VALUES (%s);
    CREATE OR REPLACE FUNCTION claudetrace.now_s() RETURNS double precision LANGUAGE sql VOLATILE AS
        'SELECT at FROM claudetrace.test_clock'
"""
LET_GO = """
    CREATE OR REPLACE FUNCTION claudetrace.now_s() RETURNS double precision LANGUAGE sql VOLATILE AS
        'SELECT extract(epoch FROM clock_timestamp())::double precision'
"""


class ServerClock:
    """The clock of the server, and of the processes that ask it."""

    def __init__(self, url: str) -> None:
        self._now = NOON
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(SET_CLOCK.replace("%s", str(NOON)))

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, value: float) -> None:
        self._now = value
        self._connection.execute("UPDATE claudetrace.test_clock SET at = %s", [value])

    def query(self, sql: str, *values: Any) -> list[Any]:
        done = self._connection.execute(sql, values or None)
        return done.fetchall() if done.description else []

    def close(self) -> None:
        """The server has its own again."""
        self._connection.execute(LET_GO)
        self._connection.close()


class Served(Kept):
    """The budgets of one process in a database."""

    def __init__(self, budgets: Any, url: str, **said: Any) -> None:
        super().__init__(budgets, ServerUrl(url), **said)
        self.url = url

    @property
    def store(self) -> PostgresStore:
        return self._store  # type: ignore[return-value]  # of this kind

    def keep_house(self) -> None:
        self.tend()

    def tend(self) -> None:
        """Each step is due."""
        self.store._due = dict.fromkeys(self.store._due, 0.0)
        super().tend()

    def die(self) -> None:
        """As a process that is gone, once its lease is over."""
        self.flush(10)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("UPDATE claudetrace.owners SET until = 0 WHERE owner = %s", [self.store._owner])
        self.store.link.drop()


def end_all(made: list[Served]) -> None:
    """So that nothing of a test is charged in the next one's store."""
    gc.collect()
    for each in made:
        each.close()


def at_once(monkeypatch: Any) -> None:
    """Nobody waits for journals or for what others have, nor for other budgets."""
    monkeypatch.setitem(_store.SWEEP, "grace_s", 0.0)
    monkeypatch.setattr(_store, "OTHERS_S", 0.0)
