"""The data report: what a frame cache holds, as JSON for gates and as one HTML page for people.

It is a function of a frames folder alone (data.json, manifest.parquet, quarantine.parquet, statistics.json, the cache).
sample chooses what is looked at, thresholds asks what Stage I would take for object, figures puts all numbers together,
checks judges them, page and bars draw them.
"""

from moso.evaluation.data_report.figures import FORMAT, VERSION, data_figures
from moso.evaluation.data_report.folder import FramesFolder
from moso.evaluation.data_report.page import render_data_page
from moso.evaluation.data_report.sample import SampleConfig

__all__ = ["FORMAT", "VERSION", "FramesFolder", "SampleConfig", "data_figures", "render_data_page"]
