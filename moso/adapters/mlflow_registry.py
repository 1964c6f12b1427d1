"""The model registry in MLflow: versions found by the model's digest, aliases, and `models:/…` as a folder.

A version carries what is needed to compare and to trace it in its tags; nothing is looked up in files that may be gone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moso.adapters.mlflow_client import (
    EXPERIMENT,
    TrackingError,
    connect,
    default_tracking_uri,
    experiment_id,
    reported,
    sqlite_file,
)
from moso.adapters.mlflow_tracking import MlflowTracker
from moso.adapters.redact import redact
from moso.errors import DataError, MosoError
from moso.provenance import digest_folder

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

# Tags of a version. Plain data is JSON.
MODEL_DIGEST, FILES_DIGEST = "moso.model_digest", "moso.files_digest"
METRICS, PROTOCOL, PROTOCOL_DIGEST = "moso.metrics", "moso.protocol", "moso.protocol_digest"
# Of the latest evaluation: its report, and the table of its figures clip by clip.
REPORT_DIGEST, PER_CLIP_DIGEST = "moso.report_digest", "moso.per_clip_digest"
PROMOTION = "moso.promotion"
DESCRIPTION_LENGTH = 5000  # of a version, in the registry's database
REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: the registered model's name.
        number: the version, from 1.
        tags: as text.
        run_id: of the run it was registered in.
    """

    name: str
    number: int
    tags: Mapping[str, str]
    run_id: str

    def record(self) -> dict[str, Any]:
        """The version as `moso.registry.decide` takes it, with its number.

        Raises:
            DataError: it was not registered by moso.
        """
        if MODEL_DIGEST not in self.tags:
            raise DataError(f"models:/{self.name}/{self.number} has no tag {MODEL_DIGEST}: moso did not register it")
        return {
            "version": self.number,
            "model_digest": self.tags[MODEL_DIGEST],
            "protocol_digest": self.tags.get(PROTOCOL_DIGEST, ""),
            "protocol": json.loads(self.tags.get(PROTOCOL, "{}")),
            "metrics": json.loads(self.tags.get(METRICS, "{}")),
            "per_clip_digest": self.tags.get(PER_CLIP_DIGEST, "none"),
        }


@dataclass(frozen=True)
class Run:
    """What a run recorded of itself.

    Attributes:
        run_id: 32 hexadecimal digits.
        name: its title.
        status: "FINISHED", "KILLED", "FAILED", "RUNNING" …
        tags: as text.
        params: as text, nested names with dots.
        metrics: the last value of each curve.
        deleted: it was deleted, and can still be read.
    """

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    deleted: bool = False

    @property
    def words(self) -> str:
        """ "train_vqvae: FINISHED"."""
        return f"{self.name}: {self.status}{', deleted' if self.deleted else ''}"


@dataclass(frozen=True)
class Registration:
    """What is filed with a new version.

    Attributes:
        tags: of run and version.
        params: of the run, nested.
        metrics: of the run, dotted name -> figure.
        description: of the version, Markdown (the model card).
        files: kept with the run (model card).
    """

    tags: Mapping[str, str]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    description: str = ""
    files: Sequence[Path] = field(default_factory=tuple)


class Registry:
    """The registry at a tracking address.

    Args:
        tracking_uri: address of the database or server; None takes `default_tracking_uri` of the current folder.

    Raises:
        TrackingError: nothing answers there.
    """

    def __init__(self, tracking_uri: str | None = None) -> None:
        self.tracking_uri = tracking_uri or default_tracking_uri(Path.cwd())
        self._client = connect(self.tracking_uri)
        self._failed = f"the registry at {redact(self.tracking_uri)} refused"

    def find(self, name: str, model_digest: str) -> Version | None:
        """The first version of `name` that holds the model with this digest."""
        return self.found_by(name, MODEL_DIGEST, model_digest)

    def found_by(self, name: str, tag: str, digest: str) -> Version | None:
        """The first version of `name` whose `tag` is this digest."""
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise DataError(f"{tag} {digest!r} is no sha256")
        with reported(self._failed):
            found = self._client.search_model_versions(f"name = '{name}' AND tags.`{tag}` = '{digest}'")
        return min(map(_version, found), key=lambda version: version.number, default=None)

    def by_alias(self, name: str, alias: str) -> Version | None:
        """The version that `alias` stands for; None where there is no such model or alias.

        Raises:
            TrackingError: the registry cannot be asked; an outage is never taken for a missing alias.
        """
        from mlflow.exceptions import MlflowException

        with reported(self._failed):
            try:
                # Aliases are empty in search results: this is the call that knows them.
                return _version(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                # A missing alias is INVALID_PARAMETER_VALUE, a missing model RESOURCE_DOES_NOT_EXIST. The text alone
                # proves nothing: that of a failed request holds the address, which ends in /alias.
                no_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in error.message
                if error.error_code == "RESOURCE_DOES_NOT_EXIST" or no_alias:
                    return None
                raise

    def register(self, name: str, save: Callable[[Path, Any], None], registration: Registration) -> Version:
        """File a new version; its run holds parameters, figures and files.

        Args:
            name: the registered model's name; made where it does not exist.
            save: writes the MLflow model folder, given the folder and the mlflow Model entry with its ids.
            registration: what is filed with it.

        Raises:
            TrackingError: the registry refuses.
        """
        tracker = MlflowTracker(self.tracking_uri)
        run_id = tracker.start(f"promote {name}", params=registration.params, tags=registration.tags)
        try:
            tracker.summary(registration.metrics)
            for path in registration.files:
                tracker.artifact(path)
            with reported(self._failed):
                version = self._file(name, run_id, save, registration)
        except BaseException:
            tracker.finish("FAILED")
            raise
        tracker.finish()
        return version

    def addresses(self) -> list[str]:
        """What `Model.load` takes: an address an alias, and the newest version of a model that has none."""
        found = []
        with reported(self._failed):
            for model in self._client.search_registered_models():
                # Aliases are in this call's answer, not in that of a search over versions.
                aliases = self._client.get_registered_model(model.name).aliases
                versions = [int(v.version) for v in self._client.search_model_versions(f"name = '{model.name}'")]
                found += [f"models:/{model.name}@{alias}" for alias in sorted(aliases)]
                if not aliases and versions:
                    found.append(f"models:/{model.name}/{max(versions)}")
        return found

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set those tags of a version that differ."""
        with reported(self._failed):
            for key, value in tags.items():
                if version.tags.get(key) != value:
                    self._client.set_model_version_tag(version.name, str(version.number), key, value)

    def keep(self, version: Version, path: Path, place: str | None = None) -> None:
        """File `path` with the version's run, below `place` where one is given; a file of that name is replaced."""
        with reported(self._failed):
            self._client.log_artifact(version.run_id, str(path), place)

    def kept(self, version: Version, name: str, folder: Path) -> Path | None:
        """The file `name` of the version's run, copied into `folder`; None where there is none.

        Raises:
            TrackingError: the registry cannot be asked.
        """
        return self.file_of(version.run_id, name, folder)

    def file_of(self, run_id: str, name: str, folder: Path) -> Path | None:
        """The file `name` that a run keeps, copied into `folder`; None where there is none.

        Raises:
            TrackingError: the registry cannot be asked.
        """
        from mlflow.exceptions import MlflowException

        with reported(self._failed):
            try:
                found = self._client.list_artifacts(run_id, name.rpartition("/")[0] or None)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # the run itself is gone
                    return None
                raise
            if name not in {item.path for item in found}:
                return None
            return Path(self._client.download_artifacts(run_id, name, str(folder)))

    def exists(self, name: str, number: int) -> bool:
        """Whether that version is there; a deleted one is not.

        Raises:
            TrackingError: the registry cannot be asked.
        """
        from mlflow.exceptions import MlflowException

        with reported(self._failed):
            try:
                self._client.get_model_version(name, str(number))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
        return True

    def point(self, alias: str, name: str, number: int | None) -> None:
        """Let `alias` of the model `name` stand for that version, and for no other; None removes it."""
        with reported(self._failed):
            if number is None:
                self._client.delete_registered_model_alias(name, alias)
            else:
                self._client.set_registered_model_alias(name, alias, str(number))

    def command_to_promote(self, alias: str, version: Version) -> str:
        """The shell command that moves `alias` to `version`, for a person who decides; a password is masked in it."""
        address = f"MLFLOW_TRACKING_URI={shlex.quote(redact(self.tracking_uri))}"
        of_alias = "" if alias == "champion" else f" --alias {alias}"
        version_address = f"models:/{version.name}/{version.number}"
        return f"{address} {sys.executable} -m moso.cli registry promote {version_address}{of_alias} --reason 'by hand'"

    def lookup(self, reference: str) -> Version:
        """The version that `models:/name@alias` or `models:/name/3` stands for.

        Raises:
            MosoError: no such address or version.
        """
        parts = REFERENCE.fullmatch(reference)
        if parts is None:
            raise MosoError(f"{reference}: write models:/<name>@<alias> or models:/<name>/<version>")
        name = parts["name"]
        if parts["alias"]:
            found = self.by_alias(name, parts["alias"])
            if found is None:
                raise MosoError(f"{reference}: no such model or alias in {redact(self.tracking_uri)}")
            return found
        with reported(f"{reference} is not in {redact(self.tracking_uri)}"):
            return _version(self._client.get_model_version(name, parts["version"]))

    def described(self, reference: str) -> dict[str, dict[str, Any]]:
        """What a version was made of and measured to be: params, metrics, protocol, digests (name -> value each).

        Raises:
            MosoError: no such address or version, or one that moso did not register.
        """
        version = self.lookup(reference)
        told = version.record()
        run = self.recorded(version.run_id)
        named = {key.removeprefix("moso."): value for key, value in version.tags.items()}
        parts = ("_digest", "git_commit", "package_version", "image", "parent_version", "seed")
        return {
            "params": dict(run.params) if run else {},
            "metrics": told["metrics"],
            "protocol": told["protocol"],
            "digests": {key: value for key, value in named.items() if key.endswith(parts)},
        }

    def run(self, version: Version) -> str | None:
        """Name and status of the run a version was registered in ("promote moso-sim_push: FINISHED"), or None if gone.

        Raises:
            TrackingError: the registry cannot be asked.
        """
        found = self.recorded(version.run_id)
        return found.words if found is not None else None

    def recorded(self, run_id: str) -> Run | None:
        """What a run recorded of itself; None where there is no such run.

        Raises:
            TrackingError: the registry cannot be asked.
        """
        from mlflow.exceptions import MlflowException

        with reported(self._failed):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
        deleted = run.info.lifecycle_stage == "deleted"
        info = run.info
        tags, params, metrics = dict(run.data.tags), dict(run.data.params), dict(run.data.metrics)
        return Run(info.run_id, info.run_name, info.status, tags, params, metrics, deleted)

    def download(self, reference: str, folder: Path) -> Path:
        """The model that `models:/name@alias` or `models:/name/3` stands for, as a folder with vqvae/ and transformer/.

        Args:
            reference: the address.
            folder: where downloads are kept, one folder a content digest; a second call downloads nothing.

        Raises:
            MosoError: no such address or version.
            DataError: what came is not what was registered.
        """
        version = self.lookup(reference)
        digest = version.tags.get(FILES_DIGEST, "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise DataError(f"{reference} has no tag {FILES_DIGEST}: moso did not register it")
        target = folder / digest
        if target.is_dir() and digest_folder(target) == digest:
            return target
        from mlflow.artifacts import download_artifacts

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            with reported(f"{reference} could not be downloaded"):
                # Not models:/<name>/<number>: MLflow 3.17 looks that up at its global address, whatever it is told.
                source = self._client.get_model_version_download_uri(version.name, str(version.number))
                came = Path(
                    download_artifacts(f"{source}/artifacts", dst_path=temporary, tracking_uri=self.tracking_uri)
                )
            if any(path.is_symlink() for path in came.rglob("*")) or digest_folder(came) != digest:
                raise DataError(f"{reference}: the files that came are not those that were registered (digest differs)")
            if target.exists():
                shutil.rmtree(target)
            os.replace(came, target)
        return target

    def _file(self, name: str, run_id: str, save: Callable[[Path, Any], None], registration: Registration) -> Version:
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        client = self._client
        logged = client.create_logged_model(
            experiment_id(client, self.tracking_uri, EXPERIMENT), name=name, source_run_id=run_id
        )
        try:
            with tempfile.TemporaryDirectory(prefix="moso-register-") as temporary:
                folder = Path(temporary) / "model"
                entry = Model(
                    artifact_path=logged.artifact_location,
                    model_uuid=logged.model_id,
                    run_id=run_id,
                    model_id=logged.model_id,
                )
                save(folder, entry)
                files_digest = digest_folder(folder / "artifacts")
                client.log_model_artifacts(logged.model_id, str(folder))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        self._ensure(name)
        # The tags come with the creation: a version is never there without the digest it is found by.
        made = client.create_model_version(
            name,
            # Not models:/<id>: the sqlite store would look that up at MLflow's global address, not at this one.
            source=logged.artifact_location,
            run_id=run_id,
            tags={**registration.tags, FILES_DIGEST: files_digest},
            description=registration.description[:DESCRIPTION_LENGTH],
            model_id=logged.model_id,
        )
        return _version(made)

    def _ensure(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def resolve(reference: str) -> Path:
    """The folder of `models:/name@alias` or `models:/name/3`: what Model.load calls (entry point moso.model_resolvers).

    The registry is the one at MLFLOW_TRACKING_URI, or the one in the current folder; downloads are kept in
    $MOSO_CACHE, or ~/.cache/moso.

    Raises:
        MosoError: no registry, or no such model.
        DataError: what came is not what was registered.
    """
    uri = default_tracking_uri(Path.cwd())
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise TrackingError(
            f"{reference}: no registry at {uri}; set MLFLOW_TRACKING_URI or call from the project's folder"
        )
    return Registry(uri).download(reference, _cache() / "models")


def addresses() -> list[str]:
    """The registered models, as `resolve` takes them; none where there is no registry yet.

    Raises:
        TrackingError: MLflow is not installed, or the registry does not answer.
    """
    uri = default_tracking_uri(Path.cwd())
    database = sqlite_file(uri)
    if database is not None and not database.exists():
        return []
    return Registry(uri).addresses()


def _cache() -> Path:
    if place := os.environ.get("MOSO_CACHE"):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moso"


def _version(version: ModelVersion) -> Version:
    return Version(version.name, int(version.version), dict(version.tags), version.run_id or "")
