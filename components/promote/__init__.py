"""The step promote: the model into the registry."""
