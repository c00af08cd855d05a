"""Every `claudetrace` command of the README and of `docs/` is one that the real command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from claudetrace.cli import main

from ._pages import PAGES, fences

SHELLS = ("", "bash", "console", "sh")
# What stands for a value of the reader's, by the kind of the option that takes it.
PLACEHOLDERS = {"N": "5", "U": "u", "S": "s", "ID": "abc", "NAME": "month", "STORE": "x.db"}


def commands(page: str) -> set[str]:
    """The commands in the fences and in the text of `page`."""
    lines = [line for fence in fences(page, *SHELLS) for line in fence.text.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(claudetrace [^`]+)`", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL))
    found = [line.strip().removeprefix("$ ") for line in lines]
    return {" ".join(each.split()) for each in (*found, *inline) if each.startswith("claudetrace ")}


ALL = sorted((page, command) for page in PAGES for command in commands(page))


@pytest.mark.parametrize(("page", "text"), ALL)
def test_a_command_is_real(page: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its options and their values pass the real parser; nothing is run."""
    _make_what_it_names(text, tmp_path, monkeypatch)
    words = [PLACEHOLDERS.get(word, word).replace("~", str(tmp_path)) for word in shlex.split(text, comments=True)[1:]]
    if {"…", "·"} & set(words) or any(word.startswith("<") for word in words):
        pytest.skip("it stands for others")
    command: click.Command = main
    context = click.Context(main, info_name="claudetrace")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None and command.invoke_without_command:
            break
        assert found is not None, f"{page} has `{text}`, and there is no command {words[0]!r}"
        command, words = found, words[1:]
        context = click.Context(command, parent=context, info_name=command.name)
    if words or not _needs_more(command):
        try:
            command.make_context(command.name or "", words, parent=context.parent)
        except (click.exceptions.Exit, click.MissingParameter):
            pass  # `--help`, or a command that is named without its values
        except click.UsageError as error:
            pytest.fail(f"{page} has `{text}`: {error.format_message()}", pytrace=False)


def _needs_more(command: click.Command) -> bool:
    """Whether `command` alone is a way to speak of it, and no call."""
    return any(each.required for each in command.params)


def _make_what_it_names(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files, folders and variables of a reader who has them."""
    monkeypatch.chdir(folder)
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "postgresql://u:p@127.0.0.1:9/x")
    for name in re.findall(r"~/(\S+)", text):
        (folder / name).mkdir(parents=True)
    for name in re.findall(r"\S+\.(?:db|toml|yaml|csv|py|json|jsonl)\b", text):
        if "/" not in name:
            (folder / name).touch()
