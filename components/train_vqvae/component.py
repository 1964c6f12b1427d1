"""Kubeflow's view of the step train_vqvae: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def train_vqvae(config: dict, ray: dict, frames: dsl.Input[dsl.Dataset], vqvae: dsl.Output[dsl.Model]) -> None:
    """Stage I: frames -> VQVAE."""
    from components.main import call

    call("train_vqvae", config, {"frames": frames.path}, {"vqvae": vqvae.path}, ray=ray)
