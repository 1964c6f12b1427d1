"""The report page: one HTML file with everything inside it.

markup and charts know nothing of videos; films makes the moving pictures; sections turns an evaluation into HTML;
page puts the sections together with the style sheet and the script of assets.
"""

from moso.evaluation.report.page import render_page
from moso.evaluation.report.sections import Evaluation

__all__ = ["Evaluation", "render_page"]
