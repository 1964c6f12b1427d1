"""The step preprocess: episodes -> frame cache."""
