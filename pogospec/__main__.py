"""`python -m pogospec`."""

from pogospec.cli import main

main()
