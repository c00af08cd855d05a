"""What a channel is, and the two that need no wire."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from claudetrace._alerts._alert import Alert
    from claudetrace._alerts._channels._notice import Notice

log = logging.getLogger("claudetrace")

NAME_ROUNDS = 20_000


class DeliveryFailed(Exception):  # noqa: N818 - it is what happened
    """A channel did not take an alert. Its words hold no secret, so that they may be logged and stored."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    """Where alerts go. Its `repr` is its name; equal channels deliver the same way to the same place."""

    @property
    def name(self) -> str:
        """Public: it may be logged and stored, and is the same in every process."""

    @property
    def of_process(self) -> bool:
        """Whether it is of this process alone: it gets what this process raises, and nothing after a restart."""

    def send(self, notice: Notice) -> None:
        """Blocks for a bounded time. Raises `DeliveryFailed`, or whatever a callable raises."""


class CallableChannel:
    """Calls `function(alert)`."""

    of_process = True

    def __init__(self, function: Callable[[Alert], object]) -> None:
        self.function = function
        named = getattr(function, "__qualname__", None) or type(function).__qualname__
        # Two closures of one name are two channels.
        self.name = f"callable:{getattr(function, '__module__', None) or '?'}.{named}#{id(function):x}"

    def send(self, notice: Notice) -> None:
        self.function(notice.alert)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallableChannel) and other.function == self.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __repr__(self) -> str:
        return self.name


class LogChannel:
    """Writes the alert's message to the logger `claudetrace.alerts`, as a warning."""

    of_process = True
    name = "log"

    def send(self, notice: Notice) -> None:
        # The message is a sentence that holds values of tags: as an argument, so that none of it is a format.
        logging.getLogger("claudetrace.alerts").warning("%s", notice.alert.message, extra={"claudetrace_alert": notice})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogChannel)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


def wire_name(scheme: str, host: str | None, url: str) -> str:
    """The public name of a channel: scheme, host where that is no secret, and 24 bits that tell two `url`s apart.

    So few bits, and so slow to work out, that they do not help to guess a password.
    """
    digest = hashlib.pbkdf2_hmac("sha256", url.encode("utf-8", "replace"), b"claudetrace channel", NAME_ROUNDS)
    place = scheme if host is None else f"{scheme}://{host}"
    return f"{place}#{digest.hex()[:6]}"
