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
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from claudetrace._alerts._alert import Alert
    from claudetrace._budgets._budget import Budget
    from claudetrace._call import Row
    from claudetrace._consumers import Sink
    from claudetrace._pricing._own import OwnRates
    from claudetrace._recorder import CallRecorder

    AlertTo = Callable[[Alert], object] | str

TOLD_S = 1.0
"""How long the end waits for what agents have used."""

log = logging.getLogger("claudetrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How recording goes in this process. `health.lost == 0` says that every call is in the ledger or on its way."""

    recorded: int
    """Rows that this process has recorded."""
    written: int
    """Those of them that are in the ledger."""
    pending: int
    """Those that are in the journal and not in the ledger yet."""
    lost: int
    """Those that could not be kept."""
    unsent: int
    """Rows of all processes on this ledger that are not acknowledged as records yet, when last checked."""
    last_error: str | None
    """The last failure inside claudetrace."""
    failures: Mapping[str, int]
    """Failures inside claudetrace, counted by what it was doing. None of them reached the application."""
    tag_faults: Mapping[str, int]
    """Tags that were shortened (`cut`), left out (`too many`), or could not become `text`."""


class _Default(str):
    """The default of a keyword. The same word from the user is another object, and outranks the environment."""

    __slots__ = ()


# `Any`, because it is a default of `Literal` types.
_AUTO: Any = _Default("auto")
_ALL: Any = _Default("all")

# Reentrant: a sink may call `uninstrument()` while it is being closed.
_lock = threading.RLock()
_running: Instrumentation | None = None


def _unlock_in_child() -> None:
    """A thread that held the lock is not there to release it."""
    global _lock
    _lock = threading.RLock()


in_child(_unlock_in_child)


class Instrumentation:
    """What `instrument()` started. As a context manager, it stops recording at the end of the block.

    with claudetrace.instrument(db="evaluation.db") as running:
        evaluate()
        print(running.health.recorded)
    """

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
        """Whether all recorded calls are now in the ledger and handed to the exporters. Waits at most `timeout_s`
        seconds. Never raises."""
        if self._parts is None:
            return True
        from claudetrace._seam import _sources

        until = monotonic() + timeout_s
        told = _sources.flush(timeout_s)
        return self._parts.flush(max(0.0, until - monotonic())) and told

    def uninstrument(self) -> None:
        """Stops recording, after what was recorded is written. Calling it twice does no harm."""
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

    def __exit__(self, *_error: object) -> None:
        self.uninstrument()

    def __repr__(self) -> str:
        where = "without a ledger" if self.settings.db is None else f"to {self.settings.db}"
        return f"<Instrumentation {where if self.active else 'off'}>"


def instrument(
    *,
    db: str | PathLike[str] | Literal[False] | None = None,
    tags: Mapping[str, object] | None = None,
    hash_tags: Sequence[str] = (),
    hash_key: str | None = None,
    spans: Literal["auto", "own", "off"] = _AUTO,
    attributes: Literal["all", "standard"] = _ALL,
    metrics: bool = True,
    metric_tags: Sequence[str] = (),
    otlp: bool | str | None = None,
    records: Literal["otlp", "stdout"] | None = None,
    baggage: Sequence[str] = (),
    budgets: Sequence[Budget] | Literal["store"] = (),
    alert_to: AlertTo | Sequence[AlertTo] = (),
    budget_store: str | PathLike[str] | None = None,
    sinks: Sequence[Sink] = (),
    rates: str | PathLike[str] | Mapping[str, Any] | None = None,
    retention: str | None = None,
    max_db_mb: float | None = None,
    sources: Sequence[Literal["anthropic", "agent_sdk"]] | None = None,
    config: str | PathLike[str] | None = None,
    force: bool = False,
) -> Instrumentation:
    """Records every Claude call of this process from now on, also those of clients that exist already.

    No setting is required. One that is not passed comes from the environment, then from `claudetrace.toml`, then
    from its default. Called again without settings, it returns the instrumentation that is running.

    db: path of the ledger, a SQLite file; `False` for none. Environment: `CLAUDETRACE_DB`. Default: `ledger.db` in
        the user's data folder. Example: `"/var/lib/shop/claude.db"`.
    tags: tags of every call in this process. Environment: `CLAUDETRACE_TAGS`, written `k=v,k=v`. Default: none.
        Example: `{"team": "search"}`.
    hash_tags: tags that are stored and exported only as keyed hashes. Default: none. Example: `("user",)`.
    hash_key: the secret for these hashes. Environment: `CLAUDETRACE_HASH_KEY`. Default: a random key, created in a
        file beside the ledger. Example: `os.environ["SHOP_HASH_KEY"]`.
    spans: `"auto"` adds the cost to the span that the SDK creates, and creates one where the SDK does not; `"own"`
        creates one wherever no span of the SDK records; `"off"` uses none. Environment: `CLAUDETRACE_SPANS`.
        Default: `"auto"`.
    attributes: `"standard"` sets only the span attributes of OpenTelemetry's conventions, `"all"` also the names
        that today's backends read. Default: `"all"`.
    metrics: whether to report OpenTelemetry metrics. Default: `True`.
    metric_tags: tags that become attributes of metrics, up to 100 values each. Default: none.
        Example: `("customer",)`.
    otlp: where to send spans and metrics if the application has no OpenTelemetry providers: a URL, or `True` for
        the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names. Default: nowhere. Example: `"http://localhost:4318"`.
    records: exports every row of the ledger, unsampled: `"otlp"` as a log record, `"stdout"` as a line of JSON.
        Default: neither.
    baggage: OpenTelemetry baggage keys that become tags. Default: none. Example: `("customer",)`.
    budgets: `Budget` objects; `"store"` uses those that an administrator set in the database `budget_store`.
        Default: none. Example: `[claudetrace.Budget("all", usd=50, per="day")]`.
    alert_to: where alerts go: a function that takes an `Alert`, `"log"`, a webhook or Slack URL, or `"env:NAME"` for
        a URL in an environment variable; one of them or several. Default: `"log"`. Example: `["env:ALERTS_URL"]`.
    budget_store: where budgets are kept: a file, a PostgreSQL URL, or `"env:NAME"` for one in an environment
        variable. Default: `<db>.budgets`. Example: `"postgresql://budgets@db.example/shop"`.
    sinks: objects that receive each `Call` of this process on a background thread; see `Sink`. Default: none.
        Example: `[MySink()]`.
    rates: your own prices, in US dollars per million tokens, or a discount: a TOML file, or a mapping.
        Default: list prices. Example: `{"discount": 0.15}`.
    retention: how long calls are kept, in minutes, hours, days or weeks; sums stay. Default: for ever.
        Example: `"90d"`.
    max_db_mb: size of the ledger in megabytes above which the oldest calls are deleted. Default: no limit.
        Example: `500`.
    sources: the packages whose calls are recorded. Default: all that are installed. Example: `("anthropic",)`.
    config: path of the settings file. Environment: `CLAUDETRACE_CONFIG`. Default: `claudetrace.toml` in the working
        directory, of which only harmless settings are used. Example: `"deploy/claudetrace.toml"`.
    force: whether to replace an instrumentation that runs with other settings. Default: `False`.

    Raises `ClaudetraceError` for a setting that cannot be used, and if an instrumentation with other settings is
    running; that one is replaced with `force=True`, in a notebook, or if it was started from outside the program.
    With `CLAUDETRACE_ENABLED=false` it does nothing.
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
    """Stops recording, after what was recorded is written. Does nothing if no instrumentation is running."""
    running = _running
    if running is not None:
        running.uninstrument()


def flush(timeout_s: float = 5.0) -> bool:
    """Whether all recorded calls are now in the ledger and handed to the exporters. Waits at most `timeout_s` seconds.
    Never raises.

    Call it at the end of a short job: `claudetrace.flush(timeout_s=10)`.
    """
    running = _running
    return True if running is None else running.flush(timeout_s)


def running() -> Instrumentation | None:
    """The instrumentation that records now."""
    return _running
