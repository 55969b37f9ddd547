"""``python -m fxcost``: the command line."""

from fxcost.cli import main

main()
