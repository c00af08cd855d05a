"""Starts the meter in programs that `claudetrace run` starts, and in Python processes that those start.

Every Python with the same environment reads this file, also older versions, and environments without claudetrace. It
imports almost nothing, because most of those processes never call Claude.
"""

import sys
from importlib.machinery import PathFinder
from os.path import dirname, realpath

# This folder leaves the path before anything else is imported. It stays in the environment, for child processes.
_OURS = dirname(realpath(__file__))  # noqa: PTH120 - pathlib is slow to import
sys.path[:] = [folder for folder in sys.path if realpath(folder or ".") != _OURS]

if sys.version_info >= (3, 11) and PathFinder.find_spec("claudetrace", sys.path) is not None:
    from claudetrace import _zero_code

    _zero_code.start()

# Python reads one `sitecustomize`, and ours came first: run the next one too. Python reports what it raises.
if PathFinder.find_spec("sitecustomize", sys.path) is not None:
    del sys.modules["sitecustomize"]
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401 - the next one
