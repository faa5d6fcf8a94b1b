"""Sphinx settings: `python -m sphinx -W docs docs/_build`. The pages read as well without it, on a code host."""

project = "howfar"
author = copyright = "the howfar authors"
extensions = ["myst_parser"]
html_theme = "furo"
root_doc = "contents"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Pages link to files of the repository beside docs/, which the built site does not have.
suppress_warnings = ["myst.xref_missing"]
