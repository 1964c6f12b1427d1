"""Kubeflow's view of the step extract_tokens: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def extract_tokens(
    config: dict,
    frames: dsl.Input[dsl.Dataset],
    vqvae: dsl.Input[dsl.Model],
    tokens: dsl.Output[dsl.Dataset],
) -> None:
    """Frames -> token store."""
    from components.main import call

    call("extract_tokens", config, {"frames": frames.path, "vqvae": vqvae.path}, {"tokens": tokens.path})
