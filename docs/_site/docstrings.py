"""Docstrings as Markdown: paragraphs of `name: text` lines become a list of parameters, those of code a block."""

from __future__ import annotations

import ast
import re
from typing import Any

import griffe

PARAMETER = re.compile(r"\w+: \S")


class Paragraphs(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            paragraphs = re.split(r"\n\s*\n", obj.docstring.value)
            obj.docstring.value = "\n\n".join(map(written, paragraphs))


def written(paragraph: str) -> str:
    lines = paragraph.splitlines()
    if all(PARAMETER.match(line) for line in lines if not line.startswith(" ")):
        return "\n".join(["Args:", *(f"    {line}" for line in lines)])
    if is_code(paragraph):
        return f"```python\n{paragraph}\n```"
    return paragraph


def is_code(paragraph: str) -> bool:
    """Whether it is statements of Python that do something: no word, no sentence."""
    try:
        found = ast.parse(paragraph).body
    except SyntaxError:
        return False
    return any(not isinstance(each, ast.Expr) or isinstance(each.value, ast.Call) for each in found)
