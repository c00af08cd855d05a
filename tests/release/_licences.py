"""Prints the licence of each package of the environment that runs this, as JSON."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distributions


def licence(package: Distribution) -> str:
    """What the package says: an expression, else its classifiers, else its text's first line."""
    told = package.metadata
    classifiers = [each.split(" :: ")[-1] for each in told.get_all("Classifier", []) if each.startswith("License")]
    text = (told.get("License") or "").strip().splitlines()
    return told.get("License-Expression") or ", ".join(classifiers) or (text[0] if text else "says none")


OURS = {"claudetrace", "pip", "setuptools"}
print(json.dumps({each.name: licence(each) for each in distributions() if each.name not in OURS}))
