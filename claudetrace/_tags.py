"""Who a call is for: `tag(...)` and `tagged(client, ...)`, snapshot when the call starts, and `tag_results(by)`."""

from __future__ import annotations

import functools
import inspect
import logging
from collections import Counter, deque
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import orjson

from claudetrace._call import RESERVED_TAGS, exact_usd
from claudetrace._entries import Block, Blocks
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import pass_on
from claudetrace._text import utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from claudetrace._call import Row

    ByCustomId = Mapping[str, Mapping[str, object]] | Callable[[str], Mapping[str, object] | None]

P = ParamSpec("P")
R = TypeVar("R")
ClientT = TypeVar("ClientT")

log = logging.getLogger("claudetrace")

MAX_TAGS = 32
MAX_TAG_CHARACTERS = 256
FOLD_AFTER = 1_000

tag_faults: Counter[str] = Counter()
"""How many tags of this process were `cut`, were `too many`, or had no `text`; `doctor` and health show it."""


class TagContext(NamedTuple):
    """The tags in force, and the scopes whose totals a call counts towards, each once."""

    tags: Mapping[str, str]
    scopes: tuple[TagScope, ...]


def _merged(scopes: Sequence[TagScope]) -> TagContext:
    """The tags of blocks in one another. A block that is in itself, as by recursion, counts once."""
    if len(scopes) == 1:
        return TagContext(scopes[0].tags, tuple(scopes))
    tags: dict[str, str] = {}
    for scope in scopes:
        tags.update(scope.tags)
    return TagContext(tags, tuple(dict.fromkeys(scopes)))


NO_TAGS = TagContext({}, ())
_blocks: Blocks[TagScope, TagContext] = Blocks("claudetrace_tags", _merged)


def current_tags() -> TagContext:
    """What `tag(...)` blocks say here and now."""
    return _blocks.get()


class TagScope(Block):
    """What `tag(...)` returns: the tags of a block, and the totals of its calls, also while it is open.

    A call counts as soon as it has returned, a stream as soon as it has been read. Never raises.
    """

    _blocks = _blocks

    def __init__(self, tags: Mapping[str, str]) -> None:
        self.tags = tags
        # Rows arrive from wherever a stream ends, even inside a garbage collection: appending takes no lock.
        self._arrived: deque[tuple[int, int | None]] = deque()
        self._totals = (0, 0, 0)
        self._folding = Lock()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """`function`, sync or async, each call of which runs in a block of these tags."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ClaudetraceError(
                f"tag() cannot decorate the generator {getattr(function, '__qualname__', function)}: "
                "use claudetrace.tagged(client, ...) in it, or a `with tag(...)` block around the call itself"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def tagged_coroutine(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return tagged_coroutine  # type: ignore[return-value]  # R is the coroutine

        @functools.wraps(function)
        def tagged_function(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return tagged_function

    def add(self, *, first: bool, spend_picousd: int | None) -> None:
        """Counts a row: a call if it is the `first` of its call. Takes no lock that it could wait for."""
        self._arrived.append((int(first), spend_picousd))
        if len(self._arrived) > FOLD_AFTER and self._folding.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._folding.release()

    def _fold(self) -> tuple[int, int, int]:
        calls, picousd, unpriced = self._totals
        while self._arrived:
            first, spend = self._arrived.popleft()
            calls, picousd, unpriced = calls + first, picousd + (spend or 0), unpriced + (spend is None)
        self._totals = (calls, picousd, unpriced)
        return self._totals

    def _read(self) -> tuple[int, int, int]:
        with self._folding:
            return self._fold()

    @property
    def calls(self) -> int:
        """The number of calls that have ended."""
        return self._read()[0]

    @property
    def cost_usd(self) -> Decimal:
        """What they cost in US dollars, exact, without the responses that `unpriced_calls` counts."""
        return exact_usd(self._read()[1])

    @property
    def unpriced_calls(self) -> int:
        """The number of responses whose cost is not known."""
        return self._read()[2]

    def __repr__(self) -> str:
        return f"<TagScope {dict(self.tags)} calls={self.calls} cost_usd={self.cost_usd}>"


def tag(
    *,
    user: object = None,
    session: object = None,
    feature: object = None,
    customer: object = None,
    prompt: object = None,
    **tags: object,
) -> TagScope:
    """A block, or a decorator, whose calls carry these tags. Never raises.

    with claudetrace.tag(user="u1", feature="rerank", attempt=2) as scope:
        client.messages.create(...)
    print(scope.calls, scope.cost_usd, scope.unpriced_calls)

    user, session, feature, customer, prompt: have columns of their own in the ledger. Any other name is fine too.
    Values become strings of at most 256 characters, up to 32 tags per call; `None` leaves a tag out. Blocks nest: the
    inner value of a tag wins.
    """
    reserved = {"user": user, "session": session, "feature": feature, "customer": customer, "prompt": prompt}
    return TagScope(clean_tags({**reserved, **tags}))


def clean_tags(tags: Mapping[Any, object]) -> dict[str, str]:
    """`tags` as short strings, without those that are `None` or have no text. Never raises."""
    clean: dict[str, str] = {}
    for name, value in tags.items():
        if value is None:
            continue
        try:
            clean[tag_text(name)] = tag_text(value)
        except Exception as error:  # noqa: BLE001 - `__str__` is the user's code
            pass_on(error)
            tag_faults["text"] += 1
            log.debug("A tag has no text: %s", error)
    return clean


def tags_given(tags: object) -> dict[str, str]:
    """What a callable of the user's gave as tags; none for `None`. Raises `TypeError` for what is no mapping."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping):
        if inspect.iscoroutine(tags):
            tags.close()  # nobody will await it
        raise TypeError(f"it gave {type(tags).__name__}, not a mapping of tags")
    return clean_tags(tags)


def tag_text(value: object) -> str:
    """`value` as text that UTF-8 can hold, cut to 256 characters. Raises what its `__str__` raises."""
    # A string is its characters, also where a subclass such as an enum's shows itself otherwise.
    text = value if type(value) is str else str.__str__(value if isinstance(value, str) else str(value))
    if len(text) > MAX_TAG_CHARACTERS:
        tag_faults["cut"] += 1
        text = text[:MAX_TAG_CHARACTERS]
    return utf8(text)


def limited(tags: dict[str, str]) -> dict[str, str]:
    """The first 32 of `tags`, those with columns of their own before all; how many were left out is counted."""
    if len(tags) <= MAX_TAGS:
        return tags
    tag_faults["too many"] += len(tags) - MAX_TAGS
    reserved = {name: tags[name] for name in RESERVED_TAGS if name in tags}
    return dict(list({**reserved, **tags}.items())[:MAX_TAGS])


def tag_columns(tags: Mapping[str, str]) -> Row:
    """The columns of `tags`: the reserved ones have their own, the others are one JSON object."""
    columns: Row = {RESERVED_TAGS[name]: value for name, value in tags.items() if name in RESERVED_TAGS}
    free = {name: value for name, value in tags.items() if name not in RESERVED_TAGS}
    if free:
        columns["tags"] = orjson.dumps(free, option=orjson.OPT_SORT_KEYS).decode()
    return columns


OWN_TAGS = "own_tags"
"""Where the row of a batch's result has its own tags, as JSON, until those of its batch are put under them."""


def with_tags(row: Row, tags: Mapping[str, str]) -> Row:
    """`row` with `tags` over those that it has, the first 32 of all."""
    had = tags_of(row)
    both = limited({**tags, **{name: value for name, value in had.items() if name not in tags}})
    return {**row, **tag_columns(both)}


def tags_of(row: Row) -> dict[str, str]:
    """All tags of `row`, those with columns of their own among them."""
    had = {tag: row[column] for tag, column in RESERVED_TAGS.items() if row.get(column) is not None}
    return {**had, **orjson.loads(row.get("tags") or "{}")}


def with_own_tags(row: Row) -> Row:
    """`row` as it comes from another ledger: a batch's result keeps the tags that it has there over those of its
    batch."""
    if row.get("custom_id") is None or not (tags := tags_of(row)):
        return row
    return {**row, OWN_TAGS: orjson.dumps(tags).decode()}


CLIENT_TAGS = "_claudetrace_tags"


def tagged(client: ClientT, /, **tags: object) -> ClientT:
    """The SDK's own copy of `client`, whose calls carry `tags` in any thread, task or generator.

    acme = claudetrace.tagged(client, customer="acme")

    Copies of it made by `with_options` carry them too. They win over the tags of a `tag(...)` block. Raises
    `ClaudetraceError` if `client` is no client of the `anthropic` package.
    """
    copy = getattr(client, "copy", None)
    if isinstance(client, type) or copy is None or not hasattr(client, "with_options"):
        raise ClaudetraceError(
            f"tagged() takes a client of the anthropic SDK, not {client!r:.200}: pass Anthropic() or the like"
        )
    return _bound(copy(), {**client_tags(client), **clean_tags(tags)})  # type: ignore[no-any-return]  # the SDK's copy


def client_tags(client: object) -> Mapping[str, str]:
    """The tags that `tagged` bound to this client."""
    return getattr(client, "__dict__", {}).get(CLIENT_TAGS) or {}


def _bound(client: Any, tags: Mapping[str, str]) -> Any:
    original = client.copy

    @functools.wraps(original)
    def copy(*args: Any, **kwargs: Any) -> Any:
        return _bound(original(*args, **kwargs), tags)

    # On our own copy alone: the user's client and its class stay as they are.
    client.__dict__.update({CLIENT_TAGS: tags, "copy": copy, "with_options": copy})
    return client


_item_blocks: Blocks[ItemTags, ItemTags | None] = Blocks(
    "claudetrace_item_tags", lambda blocks: blocks[-1] if blocks else None
)


class ItemTags(Block):
    """A block in which the items of a batch have tags of their own. Entering and leaving never raise."""

    _blocks = _item_blocks

    def __init__(self, by: ByCustomId) -> None:
        self._by: Any = by.get if isinstance(by, Mapping) else by

    def of(self, custom_id: str) -> dict[str, str]:
        """The tags of an item, none where nothing is said of it. Raises what the user's callable raises, and
        `TypeError` where it gives no mapping."""
        return tags_given(self._by(custom_id))


def tag_results(by: ByCustomId) -> ItemTags:
    """A block in which each item of a batch has tags of its own, on top of the batch's tags.

    with claudetrace.tag_results({"item-1": {"customer": "acme"}, "item-2": {"customer": "globex"}}):
        for result in client.messages.batches.results(batch_id):
            ...

    by: a mapping from `custom_id` to tags, or a function that returns them. An item that it does not know keeps the
        batch's tags.

    Around `batches.create` it decides which budgets an item counts in, around `batches.results` what its row says.
    Raises `ClaudetraceError` if `by` is neither.
    """
    if not (isinstance(by, Mapping) or callable(by)):
        raise ClaudetraceError(
            f"tag_results({by!r:.80}) cannot be: give a mapping from custom_id to tags, or a callable that gives them"
        )
    return ItemTags(by)


def current_item_tags() -> ItemTags | None:
    """What the innermost `tag_results` block says here and now."""
    return _item_blocks.get()
