"""What all tests share: no setting of the user's environment reaches them."""

from __future__ import annotations

import os

pytest_plugins = ["pytester"]

for name in list(os.environ):
    if name.startswith(("ANTHROPIC_", "CLAUDETRACE_", "OTEL_")):
        del os.environ[name]
