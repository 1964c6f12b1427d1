"""Kubeflow's view of the step ingest: its signature and one call."""

from kfp import dsl

from components.images import DATA


@dsl.component(base_image=DATA, install_kfp_package=False)
def ingest(config: dict, episodes: dsl.Output[dsl.Dataset]) -> None:
    """Raw recordings -> episodes with a manifest."""
    from components.main import call

    call("ingest", config, {}, {"episodes": episodes.path})
