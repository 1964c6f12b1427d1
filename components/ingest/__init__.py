"""The step ingest: raw recordings -> episodes with a manifest."""
