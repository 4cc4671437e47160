"""Tables of runs, what is said beside them, and each as text: markdown, latex, csv, json."""

from pogospec.report.tables.comparison import differences
from pogospec.report.tables.comparison_text import to_text
from pogospec.report.tables.flows import refuse_rule, refuse_table, targets_of
from pogospec.report.tables.flows import warnings as flow_warnings
from pogospec.report.tables.matrix import matrix_of
from pogospec.report.tables.matrix_text import to_text as matrix_to_text
from pogospec.report.tables.protocol import header, warnings
from pogospec.report.tables.selection import Ranking, rankings
from pogospec.report.tables.selection_text import about as selection_about
from pogospec.report.tables.selection_text import below as selection_below
from pogospec.report.tables.selection_text import entries as selection_rows
from pogospec.report.tables.selection_text import sheet_of as selection_sheet
from pogospec.report.tables.selection_text import to_text as selection_to_text
from pogospec.report.tables.sheets import Sheet, sheet_of, sheets, titled
from pogospec.report.tables.sweep import to_markdown as sweep_to_markdown

__all__ = [
    "Ranking", "Sheet", "differences", "flow_warnings", "header", "matrix_of", "matrix_to_text", "rankings",
    "refuse_rule", "refuse_table", "selection_about", "selection_below", "selection_rows", "selection_sheet",
    "selection_to_text", "sheet_of", "sheets", "sweep_to_markdown", "targets_of", "titled", "to_text", "warnings",
]  # fmt: skip
