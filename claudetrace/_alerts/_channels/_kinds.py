"""`Channel`, and the two channels without a network: callables and the log."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channels._notice import Notice

NAME_ROUNDS = 20_000


class DeliveryFailed(Exception):  # noqa: N818 - it is what happened
    """A channel did not accept an alert. The message contains no secret, so it may be logged and stored."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Channel(ABC):
    """Where alerts go. Its `repr` is its name; channels of one `target` deliver the same way to the same place."""

    name: str
    """Contains no secret, so it may be logged and stored. The same in every process."""
    of_process = False
    """Whether it belongs to this process alone: it gets only what this process raises."""
    target: object
    """What it sends to, with its secrets."""

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Delivers an alert in a bounded time. Raises `DeliveryFailed`, or whatever a callable raises."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Channel) and other.target == self.target

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return self.name


class CallableChannel(Channel):
    """Calls `function(alert)`."""

    of_process = True

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self.target = self._function = function
        named = getattr(function, "__qualname__", None) or type(function).__qualname__
        # Two closures of one name are two channels.
        self.name = f"callable:{getattr(function, '__module__', None) or '?'}.{named}#{id(function):x}"

    def send(self, notice: Notice) -> None:
        self._function(notice.alert)


class LogChannel(Channel):
    """Writes the alert's message to the logger `claudetrace.alerts`, as a warning."""

    of_process = True
    name = target = "log"

    def send(self, notice: Notice) -> None:
        # The message is a sentence that holds values of tags: as an argument, so that none of it is a format.
        logging.getLogger("claudetrace.alerts").warning(
            "%s", " ".join(notice.lines()), extra={"claudetrace_alert": notice}
        )


def wire_name(scheme: str, host: str | None, url: str) -> str:
    """The public name of a channel: scheme, host where that is no secret, and 24 bits that tell two `url`s apart.

    So few bits, and so slow to work out, that they do not help to guess a password.
    """
    digest = hashlib.pbkdf2_hmac("sha256", url.encode("utf-8", "replace"), b"claudetrace channel", NAME_ROUNDS)
    place = scheme if host is None else f"{scheme}://{host}"
    return f"{place}#{digest.hex()[:6]}"
