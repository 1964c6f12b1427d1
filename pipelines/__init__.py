"""The steps put together: the Kubeflow pipelines, their commands, and what keeps dvc.yaml and them in agreement."""
