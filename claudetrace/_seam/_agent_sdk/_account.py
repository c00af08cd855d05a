"""`Account`: what a conversation has used, by the CLI's transcripts and messages. On the worker's thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from claudetrace._call import PICOUSD_PER_USD, spend_of
from claudetrace._clock import monotonic
from claudetrace._ids import uuid7
from claudetrace._pricing._row import with_price
from claudetrace._seam._agent_sdk._totals import Totals
from claudetrace._seam._where import Where
from claudetrace._transcripts._files import Transcript, config_folders, session_files
from claudetrace._transcripts._responses import AGENT_SDK, Response, message_of, row_of, text

if TYPE_CHECKING:
    from claudetrace._call import Row
    from claudetrace._seam._agent_sdk._query import Query
    from claudetrace._seam._agent_sdk._totals import Rest
    from claudetrace._seam._live import Recorder
    from claudetrace._seam._where import TermsOfCalls

NAP_S = 0.01
ADDS_WELL = (2, 1, 214)
"""The version of the CLI from which on its totals are right where a response has several `message_delta`."""
_CLOUDS = {
    "CLAUDE_CODE_USE_BEDROCK": "bedrock",
    "CLAUDE_CODE_USE_VERTEX": "vertex",
    "CLAUDE_CODE_USE_FOUNDRY": "foundry",
}
_NO_KEY = frozenset(["none", "oauth"])


class When(Enum):
    """When it is that an account is settled."""

    PASSING = "a response has begun"
    LOOK = "somebody wants to know"
    RESULT = "the agent has answered"
    ENDED = "the process has ended"
    LEFT = "nobody reads on"

    @property
    def takes_all(self) -> bool:
        """Whether no response is still on its way."""
        return self in (When.RESULT, When.ENDED, When.LEFT)


WRITTEN_DOWN_S = {When.LOOK: 0.5, When.RESULT: 2.0, When.LEFT: 6.0}
"""How long the CLI may take to write down what it has said, while it runs."""
FIRST_WRITTEN_S = 0.5
"""The same, where no session was ever written down: it may never be."""


class Seen(NamedTuple):
    """A message of the CLI that says something of a response, and when it came."""

    message: Mapping[str, Any]
    at_ns: int


class Account:
    """Each response of one process of the CLI becomes a row once: of its transcript, or else of its messages."""

    def __init__(self, recorder: Recorder, terms: TermsOfCalls, options: Any) -> None:
        told = getattr(options, "env", None)
        env = {**os.environ, **(told if isinstance(told, Mapping) else {})}
        self._recorder = recorder
        self._started = datetime.now(UTC)
        self._folders = config_folders(env)
        platform = next((cloud for name, cloud in _CLOUDS.items() if env.get(name)), "anthropic")
        url = urlsplit(env.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com")
        self._terms = terms(Where(platform, None, url.hostname or "", url.port), False, None)
        self._common: Row = {
            "server_address": url.hostname or "",
            "billing": "api" if platform != "anthropic" or env.get("ANTHROPIC_API_KEY") else "unknown",
        }
        most = getattr(options, "max_budget_usd", None)
        self.max_picousd = round(most * PICOUSD_PER_USD) if isinstance(most, (int, float)) else None
        """What the user lets a query spend."""
        self._cwd: str | None = None
        self._sessions: dict[str, None] = {}
        self._transcripts: dict[str, Transcript] = {}
        self._seen: dict[str, Response] = {}
        """The responses that messages told of and that have no row yet."""
        self._streamed: dict[object, str] = {}
        """Which response is being streamed, by whose it is."""
        self._agents: dict[object, str] = {}
        """The names of subagents, by the call of the tool that started each."""
        self._recorded: set[str] = set()
        self._totals = Totals()
        self._before: Mapping[str, Any] | None = None
        """The CLI's totals of the session when an earlier process ended."""
        self._result: Mapping[str, Any] | None = None
        """The newest that the rows were not compared with: what it counts may not be written down yet."""
        self._has_missed = False
        self._adds_well = True
        self._has_cut = False

    def settle(self, noted: Iterable[Seen], query: Query, when: When, result: Mapping[str, Any] | None) -> None:
        """Records the responses that are followed by others, and more, as `when` says. A `result` has the CLI's totals,
        with which the rows are compared."""
        for seen in noted:
            self._note(seen.message, seen.at_ns)
        query.session = next(reversed(self._sessions), None)
        self._result = result or self._result
        rows = [self._row(each, query) for each in self._read(when)]
        if when in (When.ENDED, When.LEFT) or (when is When.RESULT and self._writes_elsewhere()):
            rows += [self._row(each, query) for each in [*self._seen.values()]]
        self._has_missed = self._has_missed or (when is When.RESULT and not self._transcripts)
        for row in rows:
            self._totals.add(row)
        if when.takes_all and self._result is not None and not self._seen:
            rows = self._checked(rows, self._result, query)
            self._result = None
        for row in rows:
            self._recorder.queries.add(query, row)
        if query.share is not None:
            for each in self._seen.values():
                row = row_of(each, {**query.columns, **self._common}, self._terms, self._recorder.hashed)
                query.share.expect(each.message_id, spend_of(with_price(row)) or 0)

    def _writes_elsewhere(self) -> bool:
        """Whether no transcript will be found: none is kept here, or none has come until an earlier result."""
        if self._transcripts:
            return False
        return self._has_missed or not any((folder / "projects").exists() for folder in self._folders)

    def _read(self, when: When) -> list[Response]:
        """What transcripts tell that has no row yet."""
        wait_s = WRITTEN_DOWN_S.get(when, 0.0)
        if self._writes_elsewhere():
            wait_s = 0.0 if self._has_missed else min(wait_s, FIRST_WRITTEN_S)
        until = monotonic() + wait_s
        found: dict[str, Response] = {}
        while True:
            for transcript in self._read_on():
                for each in transcript.taken(whole=when is When.LOOK, all_of_them=when.takes_all):
                    if self._is_ours(each):
                        found[each.message_id] = each
            missing = self._seen.keys() - found.keys()
            if not missing or monotonic() >= until:
                return [*found.values()]
            time.sleep(NAP_S)

    def _read_on(self) -> Iterable[Transcript]:
        for session in self._sessions:
            for folder in self._folders:
                with self._recorder.guard("find an agent's transcript"):
                    for path in session_files(folder, session):
                        self._transcripts.setdefault(str(path), Transcript(path, started=self._started))
        for transcript in self._transcripts.values():
            with self._recorder.guard("read an agent's transcript"):
                transcript.read()
                self._before = transcript.cost_state or self._before
                yield transcript

    def _is_ours(self, response: Response) -> bool:
        """Whether it is of this process and has no row yet: resumed and forked sessions hold those of others too."""
        if response.message_id in self._recorded:
            return False
        ours = response.message_id in self._seen or (response.at is not None and response.at >= self._started)
        self._totals.resumed = self._totals.resumed or not ours
        return ours

    def _row(self, response: Response, query: Query) -> Row:
        seen = self._seen.pop(response.message_id, response)
        self._recorded.add(response.message_id)
        if not response.final and seen.final:
            response.usage, response.stop_reason, response.final = seen.usage, seen.stop_reason, True
        self._has_cut = self._has_cut or not response.final
        response.agent = response.agent or seen.agent
        response.cwd = response.cwd or self._cwd
        row = row_of(response, {**query.columns, **self._common}, self._terms, self._recorder.hashed, source=AGENT_SDK)
        return with_price(row)

    def _checked(self, rows: list[Row], result: Mapping[str, Any], query: Query) -> list[Row]:
        """`rows`, and those that make up for what the CLI has counted and nobody has told of."""
        rests, numbers = self._totals.compared(result, self._before)
        # An older CLI adds up running totals of one response, so that only what is cut here can lack in the rows.
        for rest in rests if self._adds_well or self._has_cut else ():
            rows.append(self._balancing(rest, query))
            self._totals.add(rows[-1])
        if numbers and rows:
            flag(rows[-1], numbers)
            self._totals.settled(result)
        self._has_cut = False
        return rows

    def _balancing(self, rest: Rest, query: Query) -> Row:
        response = Response("")
        response.model, response.usage, response.final = rest.model, rest.usage, rest.is_exact
        response.session, response.cwd = query.session, self._cwd
        row = row_of(response, {**query.columns, **self._common}, self._terms, self._recorder.hashed, source=AGENT_SDK)
        row |= {"id": uuid7(time.time_ns()), "message_id": None, "tool_calls": None}
        row["call_id"] = row["id"]
        return with_price(row)

    # What messages tell.

    def _note(self, message: Mapping[str, Any], at_ns: int) -> None:
        if session := text(message.get("session_id")):
            self._sessions.setdefault(session)
        kind = str(message.get("type"))
        if kind in _TELL:
            _TELL[kind](self, message, at_ns)

    def _assistant(self, record: Mapping[str, Any], at_ns: int) -> None:
        if (found := message_of(record)) is None:
            return
        message_id, message = found
        for block in message.get("content") or ():
            if isinstance(block, Mapping) and isinstance(given := block.get("input"), Mapping):
                self._agents[block.get("id")] = text(given.get("subagent_type")) or "subagent"
        if message_id in self._recorded:
            return
        response = self._seen.setdefault(message_id, Response(message_id))
        response.add(record, message)
        response.at = response.at or datetime.fromtimestamp(at_ns / 1e9, UTC)
        if (parent := record.get("parent_tool_use_id")) is not None and response.agent is None:
            response.agent = self._agents.get(parent, "subagent")

    def _event(self, record: Mapping[str, Any], _at_ns: int) -> None:
        """An event of the API's stream, which the user has asked for."""
        event, whose = record.get("event"), record.get("parent_tool_use_id")
        if not isinstance(event, Mapping):
            return
        if event.get("type") == "message_start" and isinstance(message := event.get("message"), Mapping):
            self._streamed[whose] = str(message.get("id"))
        elif event.get("type") == "message_delta" and isinstance(delta := event.get("delta"), Mapping):
            response = self._seen.get(self._streamed.get(whose, ""))
            if response is not None:
                response.ended(delta.get("stop_reason"), event.get("usage"))

    def _mirror(self, record: Mapping[str, Any], at_ns: int) -> None:
        """Records of the transcript, for a user's own store of sessions."""
        for entry in record.get("entries") or ():
            if isinstance(entry, Mapping):
                self._assistant(entry, at_ns)

    def _system(self, record: Mapping[str, Any], _at_ns: int) -> None:
        if record.get("subtype") == "init":
            self._cwd = text(record.get("cwd")) or self._cwd
            self._adds_well = _version(record.get("claude_code_version")) >= ADDS_WELL
            key = text(record.get("apiKeySource"))
            if key is not None and self._terms.platform == "anthropic":
                self._common["billing"] = "credit" if key in _NO_KEY else "api"

    def _reset(self, _record: Mapping[str, Any], _at_ns: int) -> None:
        self._totals.reset()


_TELL: Mapping[str, Callable[[Account, Mapping[str, Any], int], None]] = {
    "assistant": Account._assistant,  # noqa: SLF001 - the table of this class
    "stream_event": Account._event,  # noqa: SLF001
    "transcript_mirror": Account._mirror,  # noqa: SLF001
    "system": Account._system,  # noqa: SLF001
    "conversation_reset": Account._reset,  # noqa: SLF001
}


def _version(told: object) -> tuple[int, ...]:
    """The version of the CLI that `told` is; an old one does not tell."""
    return tuple(int(part) for part in str(told).split(".") if part.isdigit())


def flag(row: Row, numbers: str) -> None:
    """Marks `row`: the CLI's own totals are others than the sum of the rows, by these `numbers`."""
    flags = row.get("cost_flags") or "[]"
    row["cost_flags"] = f'{flags[:-1]}{"," if len(flags) > 2 else ""}"agent_mismatch"]'
    row["pricing_terms"] = f"{row['pricing_terms'][:-1]},{numbers}}}"
