"""Kubeflow's view of the retraining's own tasks: their signatures and one call each. The steps are components/*."""

from kfp import dsl

from components.images import SERVE, TRAIN


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def look(
    settings: dict,
    ingest: dict,
    promote: dict,
    asked: str,
    owner: str,
    state: str,
    known: dsl.Input[dsl.Dataset],
    episodes: dsl.Output[dsl.Dataset],
    vqvae: dsl.Output[dsl.Model],
    transformer: dsl.Output[dsl.Model],
    news: dsl.Output[dsl.Artifact],
) -> str:
    """New episodes since the last retraining, and the champion; "new" or "nothing new"."""
    from pipelines.retraining_tasks import look_for_episodes

    outputs = {"episodes": episodes.path, "vqvae": vqvae.path, "transformer": transformer.path, "news": news.path}
    return look_for_episodes(settings, ingest, promote, asked, owner, state, {"known": known.path}, outputs)


@dsl.component(base_image=TRAIN, install_kfp_package=False)
def drift(
    settings: dict,
    split: str,
    owner: str,
    state: str,
    known: dsl.Input[dsl.Dataset],
    news: dsl.Input[dsl.Artifact],
    episodes: dsl.Input[dsl.Dataset],
    frames: dsl.Input[dsl.Dataset],
    frozen: dsl.Input[dsl.Dataset],
    tokens: dsl.Input[dsl.Dataset],
    vqvae: dsl.Input[dsl.Model],
    transformer: dsl.Input[dsl.Model],
    drift: dsl.Output[dsl.Artifact],
    new_frames: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
) -> str:
    """How the new episodes differ, and a test set of them; "keep" or "retrain" for the champion's Stage I."""
    from pipelines.retraining_tasks import measure

    data = {"known": known, "news": news, "episodes": episodes, "frames": frames, "frozen": frozen, "tokens": tokens}
    inputs = {**data, "vqvae": vqvae, "transformer": transformer}
    outputs = {"drift": drift.path, "new_frames": new_frames.path, "page": page.path}
    return measure(settings, split, owner, state, {name: one.path for name, one in inputs.items()}, outputs)


@dsl.component(base_image=SERVE, install_kfp_package=False)
def decide(
    settings: dict,
    promote: dict,
    owner: str,
    state: str,
    news: dsl.Input[dsl.Artifact],
    drift: dsl.Input[dsl.Artifact],
    vqvae: dsl.Input[dsl.Model],
    transformer: dsl.Input[dsl.Model],
    tokens: dsl.Input[dsl.Dataset],
    champion_vqvae: dsl.Input[dsl.Model],
    champion_transformer: dsl.Input[dsl.Model],
    frozen_candidate: dsl.Input[dsl.Artifact],
    frozen_champion: dsl.Input[dsl.Artifact],
    new_candidate: dsl.Input[dsl.Artifact],
    new_champion: dsl.Input[dsl.Artifact],
    result: dsl.Output[dsl.Artifact],
) -> None:
    """Candidate against champion on both test sets: promoted or not, by the step promote.

    One task, and not a promote after another: the champion's figures are those of the new test set in between.
    """
    from pipelines.retraining_tasks import judge

    models = {"vqvae": vqvae, "transformer": transformer, "tokens": tokens}
    champion = {"champion_vqvae": champion_vqvae, "champion_transformer": champion_transformer}
    frozen = {"frozen_candidate": frozen_candidate, "frozen_champion": frozen_champion}
    new = {"new_candidate": new_candidate, "new_champion": new_champion}
    inputs = {"news": news, "drift": drift, **models, **champion, **frozen, **new}
    paths = {name: one.path for name, one in inputs.items()}
    judge(settings, promote, owner, state, paths, {"result": result.path})


@dsl.component(base_image=SERVE, install_kfp_package=False)
def tell(settings: dict, owner: str, state: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Notify, and let go of the lock: at the end of every run, whatever happened."""
    from pipelines.retraining_tasks import tell as say

    say(settings, owner, state, str(status.state))
