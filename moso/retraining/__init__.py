"""Retraining on new data: what is new, how it differs, one at a time. Steps are put together in pipelines/."""
