"""The step evaluate: figures, baselines and the report page."""
