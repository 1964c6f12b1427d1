"""Kubeflow's view of the step evaluate: its signature and one call."""

from kfp import dsl

from components.images import TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def evaluate(
    config: dict,
    frames: dsl.Input[dsl.Dataset],
    vqvae: dsl.Input[dsl.Model],
    tokens: dsl.Input[dsl.Dataset],
    transformer: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
) -> None:
    """Predictions of the test episodes against baselines and ceiling; metrics and the report page."""
    from components.main import call, show

    call(
        "evaluate",
        config,
        {"frames": frames.path, "vqvae": vqvae.path, "tokens": tokens.path, "transformer": transformer.path},
        {"report": report.path},
    )
    show(report.path, metrics, page)
