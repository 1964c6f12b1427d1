"""Kubeflow's view of the step train_vqvae: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def train_vqvae(
    config: dict,
    ray: dict,
    frames: dsl.Input[dsl.Dataset],
    vqvae: dsl.Output[dsl.Model],
    parent: dsl.Input[dsl.Model] | None = None,
) -> None:
    """Stage I: frames -> VQVAE, from the weights of a parent where there is one."""
    from components.main import call

    inputs = {"frames": frames.path, **({"parent": parent.path} if parent else {})}
    call("train_vqvae", config, inputs, {"vqvae": vqvae.path}, ray=ray)
