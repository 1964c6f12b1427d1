"""Retraining on Kubeflow: a second graph of the same components. docs/retraining.md says what it does.

    look -> (new) preprocess -> extract_tokens -> drift -> (keep)    train_transformer from the champion's -> compare
                                                        -> (retrain) train_vqvae from the champion's -> extract_tokens
                                                                     -> train_transformer -> compare
    tell, at the end of every run; compare: evaluate candidate and champion on both test sets, decide

No `from __future__ import annotations` here: kfp reads a pipeline's annotations as objects.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.config import SPECS, check_whole_pipeline
from components.evaluate import component as evaluate_component
from components.extract_tokens import component as extract_tokens_component
from components.preprocess import component as preprocess_component
from components.scaling import asked as scaling
from components.train_transformer import component as train_transformer_component
from components.train_vqvae import component as train_vqvae_component
from moso.errors import ConfigError
from pipelines import retraining_components as own
from pipelines.cluster import Cluster, place
from pipelines.retrain_decide import evaluation_of_new
from pipelines.retrain_settings import RetrainSettings
from pipelines.retrain_state import PARTS, check_source, configs_of, settings_digest
from pipelines.submit import Launch, check_launch, pipeline_spec
from pipelines.training import without_none

NAME = "moso-retraining"
PLACED_AS = {"look": "ingest", "drift": "extract_tokens", "decide": "promote", "tell": "promote"}
"""Own tasks -> the step whose resources, secrets and volumes their pods get: look reads raw data, drift needs Stage I,
decide and tell talk to the registry and the webhook."""


def retraining_pipeline(cluster: Cluster | None = None) -> Any:
    """The pipeline as kfp compiles or runs it.

    Args:
        cluster: how the steps sit on Kubernetes; None: nothing of it, for the local runner.

    Returns:
        A kfp pipeline; `arguments` makes its parameters. `first_episodes` and `first_frames` are the addresses of what
        ingest and preprocess wrote in the training pipeline's first run, `state` a folder on a claim.
    """

    def placed(task: Any, step: str, *, own_task: bool = False) -> Any:
        if own_task:
            task.set_caching_options(False)  # state, registry and lock may have changed
        if cluster is not None:
            place(task, step, cluster)
        return task

    @dsl.pipeline(name=NAME, description="MOSO: new recordings -> drift, a candidate, and a champion that is better")
    def retraining(
        settings: dict,
        asked: str,
        ingest: dict,
        preprocess: dict,
        train_vqvae: dict,
        extract_tokens: dict,
        train_transformer: dict,
        evaluate: dict,
        evaluate_new: dict,
        split: str,
        promote: dict,
        ray: dict,
        state: str,
        first_episodes: str,
        first_frames: str,
    ) -> None:
        run = {"settings": settings, "owner": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "state": state}

        def compared(news: Any, drifted: Any, frozen: Any, candidate: dict[str, Any], champion: dict[str, Any]) -> None:
            sets = {"frozen": (evaluate, frozen), "new": (evaluate_new, drifted.outputs["new_frames"])}
            reports = {}
            for name, (config, frames) in sets.items():
                for who, model in (("candidate", candidate), ("champion", champion)):
                    task = evaluate_component.evaluate(config=config, frames=frames, **model)
                    reports[f"{name}_{who}"] = placed(task, "evaluate").outputs["report"]
            task = own.decide(
                promote=promote,
                news=news,
                drift=drifted.outputs["drift"],
                **candidate,
                **{f"champion_{part}": champion[part] for part in PARTS},
                **reports,
                **run,
            )
            placed(task, PLACED_AS["decide"], own_task=True)

        told = placed(own.tell(**run), PLACED_AS["tell"], own_task=True)
        with dsl.ExitHandler(told):
            known = dsl.importer(artifact_uri=first_episodes, artifact_class=dsl.Dataset, reimport=False).output
            frozen = dsl.importer(artifact_uri=first_frames, artifact_class=dsl.Dataset, reimport=False).output
            looked = own.look(ingest=ingest, promote=promote, asked=asked, known=known, **run)
            placed(looked, PLACED_AS["look"], own_task=True)
            with dsl.If(looked.outputs["Output"] == "new"):
                episodes, news = looked.outputs["episodes"], looked.outputs["news"]
                vqvae, transformer = looked.outputs["vqvae"], looked.outputs["transformer"]
                task = preprocess_component.preprocess(config=preprocess, episodes=episodes)
                frames = placed(task, "preprocess").outputs["frames"]
                task = extract_tokens_component.extract_tokens(
                    config=extract_tokens, ray=ray, frames=frames, vqvae=vqvae
                )
                tokens = placed(task, "extract_tokens").outputs["tokens"]
                drifted = own.drift(
                    split=split,
                    known=known,
                    news=news,
                    episodes=episodes,
                    frames=frames,
                    frozen=frozen,
                    tokens=tokens,
                    vqvae=vqvae,
                    transformer=transformer,
                    **run,
                )
                placed(drifted, PLACED_AS["drift"], own_task=True)
                champion = {"vqvae": vqvae, "transformer": transformer, "tokens": tokens}
                with dsl.If(drifted.outputs["Output"] == "keep"):
                    task = train_transformer_component.train_transformer(
                        config=train_transformer, ray=ray, tokens=tokens, parent=transformer
                    )
                    tuned = placed(task, "train_transformer").outputs["transformer"]
                    compared(news, drifted, frozen, {**champion, "transformer": tuned}, champion)
                with dsl.Else():
                    task = train_vqvae_component.train_vqvae(config=train_vqvae, ray=ray, frames=frames, parent=vqvae)
                    own_vqvae = placed(task, "train_vqvae").outputs["vqvae"]
                    task = extract_tokens_component.extract_tokens(
                        config=extract_tokens, ray=ray, frames=frames, vqvae=own_vqvae
                    )
                    own_tokens = placed(task, "extract_tokens").outputs["tokens"]
                    task = train_transformer_component.train_transformer(
                        config=train_transformer, ray=ray, tokens=own_tokens
                    )
                    trained = placed(task, "train_transformer").outputs["transformer"]
                    candidate = {"vqvae": own_vqvae, "transformer": trained, "tokens": own_tokens}
                    compared(news, drifted, frozen, candidate, champion)

    return retraining


def compiled(cluster: Cluster | None) -> str:
    """The retraining pipeline as Kubeflow's YAML; the same sources give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "retraining.yaml"
        compiler.Compiler().compile(retraining_pipeline(cluster), str(path))
        return path.read_text()


def launch_of(
    arguments: Mapping[str, Any],
    cluster: Cluster,
    *,
    name: str,
    experiment: str,
    pipeline_root: str | None = None,
    service_account: str | None = None,
) -> Launch:
    """The compiled pipeline with its arguments, checked as far as it can be without the cluster.

    Args:
        arguments: `arguments`.
        cluster: how the steps sit on it.
        name, experiment, pipeline_root, service_account: as in Launch.

    Raises:
        ConfigError: as of `submit.launch_of`; a state or lock folder that is no absolute path; a simulated data set.
    """
    check_source(arguments["ingest"]["spec"]["source"]["kind"])
    check_launch(arguments, cluster, pipeline_root)
    lock = arguments["settings"].get("lock") or "/"
    for setting, value, starts in (("lock", lock, ("/", "s3://")), ("--state", arguments["state"], ("/",))):
        if not value.startswith(starts):
            raise ConfigError(setting, value, "must be an absolute path in the pods", "name a folder on a claim")
    spec = pipeline_spec(compiled(cluster))
    return Launch(name, experiment, spec, dict(arguments), pipeline_root, service_account)


def arguments(
    params: Mapping[str, Any],
    settings: RetrainSettings,
    *,
    state: str,
    first_episodes: str,
    first_frames: str,
    specs: Path = SPECS,
) -> dict[str, Any]:
    """The pipeline's parameters as plain data.

    Args:
        params: the content of params.yaml.
        settings: of retraining.yaml.
        state, first_episodes, first_frames: as in `retraining_pipeline`.
        specs: folder of <dataset>.yaml files.

    Raises:
        ConfigError: a wrong setting.
    """
    configs = configs_of(params, settings, specs)
    check_whole_pipeline(configs)
    plain = {step: without_none(config, step) for step, config in configs.items()}
    of_new = evaluation_of_new(configs["evaluate"], settings)
    return {
        **plain,
        "settings": without_none(settings, "settings"),
        "asked": settings_digest(settings, configs),
        "evaluate_new": without_none(of_new, "evaluate"),
        "split": configs["evaluate"].split,
        "ray": without_none(scaling(params.get("ray")), "ray"),
        "state": state,
        "first_episodes": first_episodes,
        "first_frames": first_frames,
    }
