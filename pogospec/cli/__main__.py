"""`python -m pogospec.cli`."""

from pogospec.cli import main

main()
