"""Wraps what leads to and from the CLI: `write` and `read_messages` of the SDK's transport and of a user's own."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from claudetrace._errors import BudgetExceeded
from claudetrace._seam import _agent_sdk as room
from claudetrace._seam._agent_sdk._conversation import Conversation
from claudetrace._seam._wrappers import Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._seam._agent_sdk._query import Query

TRANSPORT = "claude_agent_sdk._internal.transport.subprocess_cli"

_installed: dict[tuple[type, str], tuple[Any, Any]] = {}
"""Each place that is wrapped, with what stood there and our wrapper."""
_conversations: WeakKeyDictionary[Any, Conversation] = WeakKeyDictionary()


def wrap(module: Any) -> None:
    """Wraps the SDK's classes. `module` has `Query`, which is given each transport."""
    _wrap(module.Query, "__init__", _made)
    _wrap(module.Query, "receive_messages", _receive_messages)
    transport = import_module(TRANSPORT).SubprocessCLITransport
    _wrap_transport(transport)
    _wrap(transport, "connect", _connect)


def unwrap() -> None:
    """Takes the wrappers out. One that someone has wrapped since stays, asleep."""
    for (owner, name), (original, ours) in list(_installed.items()):
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)
            del _installed[owner, name]


def look() -> None:
    """Has what conversations are known to have used recorded."""
    for conversation in [*_conversations.values()]:
        conversation.look()


def _wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    if (owner, name) not in _installed and (original := vars(owner).get(name)) is not None:
        ours = Method(original, wrapper, enabled=lambda: room.recorder is not None)
        setattr(owner, name, ours)
        _installed[owner, name] = original, ours


def _wrap_transport(kind: type) -> None:
    for name, wrapper in (("write", _write), ("read_messages", _read_messages)):
        # A mock has neither in its class: it is left alone.
        owner = next((each for each in kind.__mro__ if name in vars(each)), None)
        if owner is not None:
            _wrap(owner, name, wrapper)


def _conversation(transport: Any) -> Conversation | None:
    """The conversation that `transport` leads, or `None` where nobody records."""
    if (recorder := room.recorder) is None:
        return None
    if (found := _conversations.get(transport)) is None:
        options = getattr(transport, "_options", None)
        found = _conversations[transport] = Conversation(recorder, room.terms, options)
    return found


def _made(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    if (recorder := room.recorder) is not None:
        with recorder.guard("watch an agent's transport"):
            transport = args[0] if args else kwargs.get("transport")
            _wrap_transport(type(transport))
    return wrapped(*args, **kwargs)


def _connect(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """On the caller's own context: in a run, the CLI itself stops at what is left of it."""
    if (recorder := room.recorder) is not None:
        with recorder.guard("limit an agent to its run"):
            _conversation(instance)  # by the user's own options
            share_usd = recorder.queries.run_usd()
            options = instance._options  # noqa: SLF001 - the SDK's own
            given = getattr(options, "max_budget_usd", None)
            if share_usd and hasattr(options, "max_budget_usd") and not (given and given <= share_usd):
                # The user's own options stay as they are.
                instance._options = replace(options, max_budget_usd=float(share_usd))  # noqa: SLF001
    return wrapped(*args, **kwargs)


def _write(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """On the caller's own context: what is in force here is in force for the answer."""
    if (recorder := room.recorder) is not None:
        with recorder.guard("begin an agent's query"):
            data = args[0] if args else kwargs.get("data")
            if isinstance(data, str) and '"control_re' not in data[:40] and (found := _conversation(instance)):
                query = found.asked()
                if query is not None and recorder.queries.limited(query):
                    return _admitted(found, query, wrapped, args, kwargs)
    return wrapped(*args, **kwargs)


async def _admitted(found: Conversation, query: Query, wrapped: Any, args: Any, kwargs: Any) -> Any:
    """Writes the message if there is room for what it leads to."""
    try:
        await found.admit(query)
    except BudgetExceeded as error:
        found.refused(query, error)
        raise
    return await wrapped(*args, **kwargs)


def _read_messages(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    messages = wrapped(*args, **kwargs)
    if (recorder := room.recorder) is not None:
        with recorder.guard("read an agent's messages"):
            found = _conversation(instance)
            if found is not None and not found.is_read and hasattr(messages, "__anext__"):
                found.is_read = True
                if getattr(instance, "_is_streaming", True) is False:
                    # Older versions give the prompt to the process as it starts, and write nothing.
                    found.asked()
                return _Messages(messages, found, instance)
    return messages


def _receive_messages(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    received = wrapped(*args, **kwargs)
    if (recorder := room.recorder) is not None:
        with recorder.guard("read an agent's messages"):
            found = _conversations.get(instance.transport)
            if found is not None and hasattr(received, "__anext__"):
                return _Received(received, found)
    return received


class _Received:
    """What the caller is given. Older versions make an `Exception` of whatever ended the messages."""

    def __init__(self, received: Any, conversation: Conversation) -> None:
        self._received, self._conversation = received, conversation

    def __aiter__(self) -> _Received:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._received.__anext__()
        except (StopAsyncIteration, BudgetExceeded):
            raise
        except Exception:
            if (exceeded := self._conversation.exceeded) is not None:
                raise exceeded from None
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._received, name)


class _Messages:
    """The messages of the CLI, each as it came, while `conversation` sees them pass."""

    def __init__(self, messages: Any, conversation: Conversation, transport: Any) -> None:
        self._messages = messages
        self._transport = transport
        self._conversation = conversation

    def __aiter__(self) -> _Messages:
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._messages.__anext__()
        except Exception:
            # The process has ended: what it wrote down is read before the caller hears of it.
            await self._conversation.ended()
            raise
        except BaseException:
            self._conversation.left()
            raise
        await self._conversation.saw(message)
        if (error := self._conversation.exceeded) is not None:
            await self._stop()
            raise error
        return message

    async def _stop(self) -> None:
        """Stops the agent before the caller hears of it: by an interrupt, or where its input is closed already by what
        the SDK ends it with."""
        request = {"type": "control_request", "request_id": "claudetrace", "request": {"subtype": "interrupt"}}
        try:
            await self._transport.write(json.dumps(request) + "\n")
        except Exception:  # noqa: BLE001 - its input is closed, as after a prompt that is all there is
            with suppress(Exception):  # it has ended by itself
                self._transport._process.terminate()  # noqa: SLF001 - the SDK's own
        self._conversation.stopped()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)
