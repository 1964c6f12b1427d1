"""Kubeflow's view of the step train_transformer: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def train_transformer(
    config: dict,
    ray: dict,
    tokens: dsl.Input[dsl.Dataset],
    transformer: dsl.Output[dsl.Model],
    parent: dsl.Input[dsl.Model] | None = None,
) -> None:
    """Stage II: token store -> transformer, from the weights of a parent where there is one."""
    from components.main import call

    inputs = {"tokens": tokens.path, **({"parent": parent.path} if parent else {})}
    call("train_transformer", config, inputs, {"transformer": transformer.path}, ray=ray)
