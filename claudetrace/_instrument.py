"""`instrument()`, `uninstrument()` and `flush()`: one `Instrumentation` at a time."""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from claudetrace._clock import monotonic
from claudetrace._config import Settings, resolve
from claudetrace._errors import ClaudetraceError
from claudetrace._forks import in_child
from claudetrace._guard import Guard
from claudetrace._switch import enabled, watching
from claudetrace._tags import tag_faults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    from claudetrace._call import Row
    from claudetrace._consumers import Sink
    from claudetrace._pricing import OwnRates
    from claudetrace._recorder import CallRecorder

TOLD_S = 1.0
"""How long the end waits for what agents have used."""

log = logging.getLogger("claudetrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How recording goes: rows `recorded` by this process, `written` to the ledger, still `pending`, `lost`."""

    recorded: int
    written: int
    pending: int
    lost: int
    unsent: int
    """Rows that wait to be acknowledged as records, of all processes on the ledger, when last looked."""
    last_error: str | None
    failures: Mapping[str, int]
    """How often each thing of ours failed; none of them reached a caller."""

    tag_faults: Mapping[str, int]
    """Tags that were `cut`, `too many` or without `text`."""


class _Default(str):
    """The default of a keyword. The same word from the user is another object, and outranks the environment."""

    __slots__ = ()


_AUTO = _Default("auto")
_ALL = _Default("all")

# Reentrant: a sink may call `uninstrument()` while it is being closed.
_lock = threading.RLock()
_running: Instrumentation | None = None


def _unlock_in_child() -> None:
    """A thread that held the lock is not there to release it."""
    global _lock
    _lock = threading.RLock()


in_child(_unlock_in_child)


class Instrumentation:
    """What `instrument()` started. A context manager: leaving it uninstruments."""

    def __init__(self, settings: Settings, *, active: bool, replaces: Instrumentation | None = None) -> None:
        self.settings = settings
        self.active = active
        """False where `CLAUDETRACE_ENABLED=false` switched everything off."""
        self.unasked = False
        """Whether no code asked for it: what the program says later replaces it."""
        self._guard = Guard()
        self._parts: Assembly | None = None
        if active:
            from claudetrace._assembly import Assembly
            from claudetrace._seam import _sources
            from claudetrace._seam._where import terms_of_calls

            before = None if replaces is None else replaces._parts  # noqa: SLF001 - this class's own
            parts = self._parts = Assembly(settings, self._guard, replaces=before)
            terms = terms_of_calls(settings.hosts, parts.own_rates, settings.foundry_data_zone)
            _sources.install(parts.recorder, terms, settings.sources)
            watching.on = True

    @property
    def recorder(self) -> CallRecorder | None:
        """What takes responses; `None` where everything is switched off."""
        return None if self._parts is None else self._parts.recorder

    @property
    def own_rates(self) -> OwnRates | None:
        """The own prices in force."""
        return None if self._parts is None else self._parts.own_rates

    def settle_budgets(self, timeout_s: float) -> None:
        """What calls have cost that have ended is in the budgets' store, unless that takes longer."""
        if self._parts is not None and self._parts.budgets is not None:
            self._parts.budgets.settle_all(timeout_s)

    def tag_columns(self, client: object, user: object = None) -> Row:
        """The columns that tell who and what a call of `client` would be for, here and now."""
        columns: Row = {}
        if self._parts is not None:
            self._parts.attribution.fill(columns, client, user)
        return columns

    @property
    def health(self) -> Health:
        """How recording goes, now."""
        state = {} if self._parts is None else self._parts.health()
        return Health(
            recorded=state.get("recorded", 0),
            written=state.get("written", 0),
            pending=state.get("pending", 0),
            lost=state.get("lost", 0),
            unsent=state.get("unsent", 0),
            last_error=state.get("last_error") or self._guard.last_error,
            failures=dict(self._guard.failures),
            tag_faults=dict(tag_faults),
        )

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Whether all that was recorded is in the ledger and handed to exporters. Blocks at most `timeout_s`.
        Never raises."""
        if self._parts is None:
            return True
        from claudetrace._seam import _sources

        until = monotonic() + timeout_s
        told = _sources.flush(timeout_s)
        return self._parts.flush(max(0.0, until - monotonic())) and told

    def uninstrument(self) -> None:
        """No further call is seen; what was recorded is written. Safe to call twice."""
        global _running
        with _lock:
            if _running is self:
                _running, watching.on = None, False
            self._stop()

    def _stop(self, *, replaced_by: Settings | None = None) -> None:
        if not self.active:
            return
        self.active = False
        if replaced_by is None:
            from claudetrace._seam import _sources

            _sources.uninstall()
            _sources.flush(TOLD_S)
        if self._parts is not None:
            self._parts.close(kept_sinks=() if replaced_by is None else replaced_by.sinks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.uninstrument()

    def __repr__(self) -> str:
        where = "without a ledger" if self.settings.db is None else f"to {self.settings.db}"
        return f"<Instrumentation {where if self.active else 'off'}>"


def instrument(
    *,
    db: str | PathLike[str] | bool | None = None,
    tags: Mapping[str, object] | None = None,
    hash_tags: Sequence[str] = (),
    hash_key: str | None = None,
    spans: str = _AUTO,
    attributes: str = _ALL,
    metrics: bool = True,
    metric_tags: Sequence[str] = (),
    otlp: bool | str | None = None,
    records: str | None = None,
    baggage: Sequence[str] = (),
    budgets: Sequence[Any] | Literal["store"] = (),
    alert_to: Sequence[Any] = (),
    budget_store: str | PathLike[str] | None = None,
    sinks: Sequence[Sink] = (),
    rates: Any = None,
    retention: str | None = None,
    max_db_mb: float | None = None,
    sources: Sequence[str] | None = None,
    config: str | PathLike[str] | None = None,
    force: bool = False,
) -> Instrumentation:
    """Records every Claude call of this process from now on, also those of clients that exist.

    Raises `ClaudetraceError` for a setting that cannot be, and where one is running with other settings, unless
    `force` replaces it, no code asked for what is running, or this is IPython. With `CLAUDETRACE_ENABLED=false` it
    does nothing.
    """
    global _running
    defaults: dict[str, Any] = instrument.__kwdefaults__ or {}
    said = {
        name: None if value is defaults[name] or value == [] else value
        for name, value in locals().items()
        if name in defaults and name != "force"
    }
    if not enabled():
        return Instrumentation(Settings(db=None), active=False)
    with _lock:
        if _running is not None and not force and all(value is None for value in said.values()):
            return _running
        settings = resolve(said)
        if _running is not None:
            differences = _running.settings.differences(settings)
            if not differences and not force:
                return _running
            if differences and _in_notebook():
                log.warning("claudetrace now records with %s", "; ".join(settings.differences(_running.settings)))
            elif not force and not _running.unasked:
                raise ClaudetraceError(
                    f"already recording with {'; '.join(differences)}: "
                    "call claudetrace.uninstrument() first, or pass force=True"
                )
        replaced, _running = _running, Instrumentation(settings, active=True, replaces=_running)
        if replaced is not None:
            # Only now: what other threads call meanwhile is billed, and one of the two has to see it.
            replaced._stop(replaced_by=settings)  # noqa: SLF001 - this module's own
        return _running


def _in_notebook() -> bool:
    """Whether this is IPython, where a cell is run again with other settings."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def uninstrument() -> None:
    """No further call is seen; what was recorded is written. Does nothing where nothing runs."""
    running = _running
    if running is not None:
        running.uninstrument()


def flush(timeout_s: float = 5.0) -> bool:
    """Whether all that was recorded is in the ledger. Blocks at most `timeout_s`. Never raises."""
    running = _running
    return True if running is None else running.flush(timeout_s)


def running() -> Instrumentation | None:
    """The instrumentation that records now."""
    return _running
