"""Kubeflow's view of the step train_transformer: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def train_transformer(
    config: dict, ray: dict, tokens: dsl.Input[dsl.Dataset], transformer: dsl.Output[dsl.Model]
) -> None:
    """Stage II: token store -> transformer."""
    from components.main import call

    call("train_transformer", config, {"tokens": tokens.path}, {"transformer": transformer.path}, ray=ray)
