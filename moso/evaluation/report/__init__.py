"""The report page: one HTML file with everything inside it.

markup and charts know nothing of videos; films and recombinations make the moving pictures; evaluation is all that the
page shows, and figures, clips, long_prediction, training and lineage turn parts of it into HTML with the pieces of
elements and the names of words; page puts them together with the style sheet and the script of assets. Figures are
those of metrics.json: the page computes none of its own.
"""

from moso.evaluation.report.evaluation import Evaluation
from moso.evaluation.report.page import render_page

__all__ = ["Evaluation", "render_page"]
