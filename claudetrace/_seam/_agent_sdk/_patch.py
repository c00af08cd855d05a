"""Wraps what leads to and from the CLI: `write` and `read_messages` of the SDK's transport and of a user's own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from claudetrace._seam import _agent_sdk as room
from claudetrace._seam._agent_sdk._conversation import Conversation
from claudetrace._seam._wrappers import Method

if TYPE_CHECKING:
    from collections.abc import Callable

TRANSPORT = "claude_agent_sdk._internal.transport.subprocess_cli"

_installed: dict[tuple[type, str], tuple[Any, Any]] = {}
"""Each place that is wrapped, with what stood there and our wrapper."""
_conversations: WeakKeyDictionary[Any, Conversation] = WeakKeyDictionary()


def wrap(module: Any) -> None:
    """Wraps the SDK's classes. `module` has `Query`, which is given each transport."""
    _wrap(module.Query, "__init__", _made)
    _wrap_transport(import_module(TRANSPORT).SubprocessCLITransport)


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
        try:
            transport = args[0] if args else kwargs.get("transport")
            _wrap_transport(type(transport))
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            recorder.guard.caught("watch an agent's transport", error)
    return wrapped(*args, **kwargs)


def _write(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """On the caller's own context: what is in force here is in force for the answer."""
    if (recorder := room.recorder) is not None:
        try:
            data = args[0] if args else kwargs.get("data")
            if isinstance(data, str) and '"control_re' not in data[:40] and (found := _conversation(instance)):
                found.asked()
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            recorder.guard.caught("begin an agent's query", error)
    return wrapped(*args, **kwargs)


def _read_messages(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    messages = wrapped(*args, **kwargs)
    if (recorder := room.recorder) is not None:
        try:
            found = _conversation(instance)
            if found is not None and not found.is_read and hasattr(messages, "__anext__"):
                found.is_read = True
                if getattr(instance, "_is_streaming", True) is False:
                    # Older versions give the prompt to the process as it starts, and write nothing.
                    found.asked()
                return _Messages(messages, found)
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            recorder.guard.caught("read an agent's messages", error)
    return messages


class _Messages:
    """The messages of the CLI, each as it came, while `conversation` sees them pass."""

    def __init__(self, messages: Any, conversation: Conversation) -> None:
        self._messages = messages
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
        return message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._messages, name)
