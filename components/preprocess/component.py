"""Kubeflow's view of the step preprocess: its signature and one call."""

from kfp import dsl

from components.images import DATA


@dsl.component(base_image=DATA, install_kfp_package=False)
def preprocess(config: dict, episodes: dsl.Input[dsl.Dataset], frames: dsl.Output[dsl.Dataset]) -> None:
    """Episodes -> frame cache."""
    from components.main import call

    call("preprocess", config, {"episodes": episodes.path}, {"frames": frames.path})
