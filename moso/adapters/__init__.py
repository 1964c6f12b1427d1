"""The only modules that import MLflow, S3 or Ray. The core never imports this package."""
