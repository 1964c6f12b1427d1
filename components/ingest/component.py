"""Kubeflow's view of the step ingest: its signature and one call."""

from kfp import dsl

from components.images import DATA


@dsl.component(base_image=DATA, install_kfp_package=False)
def ingest(config: dict, raw_digest: str, episodes: dsl.Output[dsl.Dataset]) -> None:
    """Raw recordings -> episodes with a manifest. raw_digest stands in Kubeflow's cache key for their content."""
    from components.main import call

    call("ingest", config, {}, {"episodes": episodes.path})
