"""Kubeflow's view of the step promote: its signature and one call."""

from kfp import dsl

from components.images import SERVE


@dsl.component(base_image=SERVE, install_kfp_package=False)
def promote(
    config: dict,
    vqvae: dsl.Input[dsl.Model],
    transformer: dsl.Input[dsl.Model],
    report: dsl.Input[dsl.Artifact],
    promotion: dsl.Output[dsl.Artifact],
) -> None:
    """The model into the registry, and to champion where it is better."""
    from components.main import call

    call(
        "promote",
        config,
        {"vqvae": vqvae.path, "transformer": transformer.path, "report": report.path},
        {"promotion": promotion.path},
    )
