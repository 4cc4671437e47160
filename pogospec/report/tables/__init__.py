"""Tables of runs, what is said beside them, and each as text: markdown, latex, csv, json."""

from pogospec.report.tables.comparison import differences
from pogospec.report.tables.comparison_text import to_text
from pogospec.report.tables.flows import refuse_rule, refuse_table, targets_of
from pogospec.report.tables.flows import warnings as flow_warnings
from pogospec.report.tables.matrix import matrix_of
from pogospec.report.tables.matrix_text import to_text as matrix_to_text
from pogospec.report.tables.protocol import header, warnings
from pogospec.report.tables.sweep import to_markdown as sweep_to_markdown

__all__ = [
    "differences", "flow_warnings", "header", "matrix_of", "matrix_to_text", "refuse_rule", "refuse_table",
    "sweep_to_markdown", "targets_of", "to_text", "warnings",
]  # fmt: skip
