"""Starts the meter in a Python that `claudetrace run` began, or that such a program began.

Any Python that inherits the environment reads this file: other versions, and those that have no claudetrace. It
imports next to nothing, for all those that never call Claude.
"""

import sys
from importlib.machinery import PathFinder
from os.path import dirname, realpath

# Out of the way before anything else is imported. The environment keeps the folder, for the processes to come.
_OURS = dirname(realpath(__file__))  # noqa: PTH120 - pathlib is slow to import
sys.path[:] = [folder for folder in sys.path if realpath(folder or ".") != _OURS]

if sys.version_info >= (3, 11) and PathFinder.find_spec("claudetrace", sys.path) is not None:
    from claudetrace import _zero_code

    _zero_code.start()

# The one that ours stood before: the distribution's, the user's, or another tool's. What it raises, Python tells.
if PathFinder.find_spec("sitecustomize", sys.path) is not None:
    del sys.modules["sitecustomize"]
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401 - the next one
