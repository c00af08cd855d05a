"""`Conversation`: what one process of the CLI is asked and says, as its transport sees it pass."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from claudetrace._seam._agent_sdk import _worker
from claudetrace._seam._agent_sdk._account import Account, Seen, When
from claudetrace._seam._agent_sdk._query import Query

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from claudetrace._errors import BudgetExceeded
    from claudetrace._seam._live import Recorder
    from claudetrace._seam._where import TermsOfCalls

LONGEST_S = 1.0
"""How long a message may wait for the transcript to be read that belongs to it."""


class Conversation:
    """On the caller's event loop, where it only takes note; what it has noted is read on the worker's thread."""

    def __init__(self, recorder: Recorder, terms: TermsOfCalls, options: Any) -> None:
        self.is_read = False
        self._recorder = recorder
        self._account = Account(recorder, terms, options)
        self._queries: deque[Query] = deque()
        self._noted: deque[Seen] = deque()
        self._newest: str | None = None
        self._job: Future[None] | None = None
        self._has_ended = False
        self._is_idle = False
        """Whether a result was the last that came: then what was asked before is answered."""

    def asked(self) -> Query | None:
        """The query that the user's message begins: who asks, and in which trace, is as it is here and now. `None`
        where it belongs to the one before."""
        query, last = Query(self._recorder.attribute), self._queries[-1] if self._queries else None
        if last is not None and not last.has_answers and last.columns == query.columns:
            # Several messages that are written at once are one query.
            return None
        self._recorder.queries.begin(query)
        if self._is_idle:
            self._queries.clear()
        self._queries.append(query)
        return query

    async def admit(self, query: Query) -> None:
        """Asks the budgets for what `query` may spend. Raises `BudgetExceeded`."""
        await self._recorder.queries.admit(query, self._account.max_picousd)

    def stopped(self) -> None:
        """The agent has to stop amid its query."""
        for query in self._queries:
            if query.share and query.share.exceeded:
                self._recorder.queries.refused(query, query.share.exceeded)
        self._end(When.LEFT)

    def refused(self, query: Query, error: BudgetExceeded) -> None:
        """The query does not take place."""
        if query in self._queries:
            self._queries.remove(query)
        self._recorder.queries.refused(query, error)
        self._recorder.queries.end(query)

    @property
    def exceeded(self) -> BudgetExceeded | None:
        """Why the agent has to stop now."""
        return next((query.share.exceeded for query in self._queries if query.share and query.share.exceeded), None)

    async def saw(self, message: Any) -> None:
        """A message has come. Raises nothing of ours.

        Where a budget limits the query, it waits until its cost so far is known; a result waits until its transcript
        is read, if somebody counts what it costs.
        """
        job = None
        try:
            if isinstance(message, Mapping) and (note := _NOTED.get(str(message.get("type")))) is not None:
                job = note(self, message)
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self._recorder.guard.caught("read an agent's message", error)
        if job is not None:
            await _worker.until_done(job, LONGEST_S)

    async def ended(self) -> None:
        """No further message comes: the process has ended, and its transcript is whole."""
        if (job := self._end(When.ENDED)) is not None:
            await _worker.until_done(job, LONGEST_S)

    def left(self) -> None:
        """Nobody reads on. What is known is recorded, but nobody waits for it."""
        self._end(When.LEFT)

    def look(self) -> None:
        """Has what is known recorded, though the CLI may go on."""
        queries = [*self._queries]
        _worker.submit(lambda: self._settle(queries, When.LOOK))

    def _end(self, when: When) -> Future[None] | None:
        if self._has_ended:
            return None
        self._has_ended = True
        try:
            queries = [*self._queries]
            return _worker.submit(lambda: self._settle(queries, when))
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            self._recorder.guard.caught("record what an agent has used", error)
            return None

    def _note(self, message: Mapping[str, Any]) -> None:
        self._noted.append(Seen(message, time.time_ns()))

    def _assistant(self, message: Mapping[str, Any]) -> Future[None] | None:
        self._note(message)
        self._is_idle = False
        body = message.get("message")
        name = body.get("id") if isinstance(body, Mapping) else None
        if self._queries:
            self._queries[0].has_answers = True
        if name != self._newest:
            self._newest = name
            # The one before is whole by now. Where such a look still waits, it will see this one too.
            if self._job is None or self._job.done():
                queries = [*self._queries]
                self._job = _worker.submit(lambda: self._settle(queries, When.PASSING))
        return self._job if self._queries and self._queries[0].share is not None else None

    def _result(self, message: Mapping[str, Any]) -> Future[None] | None:
        self._note(message)
        self._is_idle = True
        queries = [*self._queries]
        job = _worker.submit(lambda: self._settle(queries, When.RESULT, message))
        if len(self._queries) > 1 and not isinstance(message.get("origin"), Mapping):
            self._queries.popleft()
        return job if queries and queries[0].is_counted else None

    def _settle(self, queries: list[Query], when: When, result: Mapping[str, Any] | None = None) -> None:
        """Records what is complete. On the worker's thread."""
        with self._recorder.guard("record what an agent has used"):
            noted = [self._noted.popleft() for _ in range(len(self._noted))]
            query = queries[0] if queries else Query(self._recorder.attribute)
            self._account.settle(noted, query, when, result)
            if when.takes_all:
                for each in queries[:1] if when is When.RESULT else queries:
                    self._recorder.queries.end(each)


_NOTED: Mapping[str, Callable[[Conversation, Mapping[str, Any]], Any]] = {
    "assistant": Conversation._assistant,  # noqa: SLF001 - the table of this class
    "result": Conversation._result,  # noqa: SLF001
    **dict.fromkeys(
        ("system", "stream_event", "conversation_reset", "transcript_mirror"),
        Conversation._note,  # noqa: SLF001
    ),
}
"""The kinds of messages that say something of what is used, or of when."""
