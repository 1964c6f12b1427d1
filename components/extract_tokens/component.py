"""Kubeflow's view of the step extract_tokens: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def extract_tokens(
    config: dict,
    ray: dict,
    frames: dsl.Input[dsl.Dataset],
    vqvae: dsl.Input[dsl.Model],
    tokens: dsl.Output[dsl.Dataset],
) -> None:
    """Frames -> token store."""
    from components.main import call

    inputs = {"frames": frames.path, "vqvae": vqvae.path}
    call("extract_tokens", config, inputs, {"tokens": tokens.path}, ray=ray)
