"""``python -m fxcost``: the command line."""

from fxcost.cli.main import main

main()
