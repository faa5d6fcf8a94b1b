"""The plain document of a comparison as one HTML file that needs nothing else.

The pictures are inline SVG and CSS: the page holds no script, so a report of a wide table stays below a megabyte or
two, opens from a mail, prints, follows light and dark, and a hostile column name has nothing that could run it.
"""

from howfar.report.page import render as render

__all__ = ["render"]
