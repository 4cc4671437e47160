"""Settings of the site: `sphinx-build -W docs site` makes the derived pages, then all of it as HTML."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402  the folder of this file is found first

import pogospec  # noqa: E402

project = "pogospec"
release = version = pogospec.__version__
html_title = f"pogospec {release}"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
exclude_patterns = ["**/parts/*", "commands/*"]  # included by pages

myst_enable_extensions = ["deflist", "attrs_block"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # pages that are included begin below the heading above them

smartquotes = False  # x' and --set are what they are
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def setup(app) -> None:
    """Make the derived pages before Sphinx looks for pages."""
    app.connect("builder-inited", lambda _: generate.write(HERE))
