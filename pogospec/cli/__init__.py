"""The command line: parse, call, print, exit code; a file for each group of commands."""

from pogospec.cli import language, results, training
from pogospec.cli.app import app, main

for command in (training.run, training.resume, results.compare, language.check, training.evaluate):
    app.command()(command)
app.command("list")(language.list_)

__all__ = ["app", "main"]
