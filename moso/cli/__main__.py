"""`python -m moso.cli`: the command line where the console script is not installed."""

from moso.cli import main

main()
