"""Who has reservations: a process holds a lock on a file of its own, so that others can tell when it is gone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from claudetrace._descriptors import Descriptor, lock
from claudetrace._files import make_folder, open_file
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from pathlib import Path


class Owner(Forks):
    """This process among those that reserve in the store beside the folder `folder`. A forked child is another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: Descriptor | None = None
        self.name = ""
        """As `id`, but empty where this process has reserved nothing yet."""
        watch(self)

    def id(self) -> str:
        """The name that this process's reservations carry; its file is locked from here on. Raises `OSError`."""
        if self.name:
            return self.name
        make_folder(self._folder)
        name = f"{os.getpid()}-{secrets.token_hex(8)}"
        hidden = self._folder / f"{name}.new"
        fd = open_file(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        lock(fd)
        hidden.rename(self._folder / name)
        self._held, self.name = Descriptor(fd), name
        return name

    def is_gone(self, owner: str) -> bool:
        """Whether the process of that name has ended, in whatever way, as far as this user can tell."""
        if owner == self.name:
            return False
        try:
            fd = open_file(self._folder / owner, os.O_RDWR)
            try:
                return lock(fd)
            finally:
                os.close(fd)
        except OSError as error:
            return isinstance(error, FileNotFoundError)

    def names(self) -> list[str]:
        """All whose files are there, this process's left out."""
        with suppress(OSError):
            return [path.name for path in self._folder.iterdir() if path.name != self.name and path.suffix != ".new"]
        return []

    def forget(self, owner: str) -> None:
        """Removes what is left of one that is gone, once nothing is reserved in its name."""
        with suppress(OSError):
            (self._folder / owner).unlink(missing_ok=True)

    def close(self, *, settled: bool) -> None:
        """Lets go of the file, and removes it where all is `settled`: else others settle in this one's place."""
        owner, self.name = self.name, ""
        if owner and settled:
            self.forget(owner)
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def after_fork_in_child(self) -> None:
        # Closed and not unlocked: the lock is the parent's as well.
        self.close(settled=False)


def owners_of(path: Path) -> Path:
    """Where the processes that use the store at `path` hold their locks."""
    return path.with_name(f"{path.name}.owners")
