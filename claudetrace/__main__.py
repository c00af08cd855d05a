"""`python -m claudetrace`."""

from claudetrace.cli import main

main(prog_name="claudetrace")
