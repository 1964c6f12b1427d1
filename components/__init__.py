"""The steps: `<step>/step.py` is the run and its command line, `<step>/component.py` its Kubeflow signature."""
