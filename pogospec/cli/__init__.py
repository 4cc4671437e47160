"""The command line: parse, call, print, exit code; a file for each group of commands."""

from pogospec.cli import data, explaining, language, machine, offline, pages, results, shipping, suite, training, tuning
from pogospec.cli.app import app, main

for command in (
    language.new,
    language.check,
    explaining.explain,
    training.run,
    training.resume,
    suite.suite,
    tuning.tune,
    results.compare,
    results.plot,
    pages.report,
    pages.watch,
    offline.select,
    training.evaluate,
    shipping.export,
    shipping.render,
    language.schema,
    machine.doctor,
):
    app.command()(command)
app.command("list")(language.list_)
app.add_typer(data.data, name="data")

__all__ = ["app", "main"]
