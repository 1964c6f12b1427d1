"""Hand a run of the training pipeline to a Kubeflow server: `moso pipeline submit`.

Spoken to by kfp_server_api, the client generated from the server's own description (kfp.Client writes into the user's
home, waits 25 s for a server that is away and logs with tracebacks). The token goes into one header and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import kfp_server_api as api  # type: ignore[import-untyped]
import urllib3
import yaml

from components.scaling import Scaling
from moso.adapters.redact import redact
from moso.config import build
from moso.errors import ConfigError, MosoError
from pipelines.caching import cache_keys, raw_digest_of
from pipelines.cluster import ON_RAY, Cluster
from pipelines.training import compiled

TIMEOUT = (10, 60)  # seconds to connect, and for an answer; no source
ROOTS = ("s3://", "gs://", "minio://")  # what Kubeflow's launcher can write to


@dataclass(frozen=True)
class Server:
    """A Kubeflow Pipelines API server.

    Attributes:
        host: http(s)://host[:port][/path], the address that also shows the pages.
        namespace: the user's, on a server of several users; None on one of a single user.
        token: sent as `Authorization: Bearer`; None where the server asks for none (behind kubectl port-forward).
    """

    host: str
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, host: str | None, namespace: str | None, token: str | None) -> Server:
        """A server from what the environment and the flags say.

        Raises:
            ConfigError: no host, one without http(s)://, or a token that is no single word.
        """
        if not host:
            raise ConfigError("KFP_HOST", host, "is not set", "export KFP_HOST=https://kubeflow.example.org, or --host")
        if not re.fullmatch(r"https?://[^\s@]+", host):
            raise ConfigError("KFP_HOST", redact(host), "must be http(s)://host, without user and password")
        token = token.strip() if token else None
        if token and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise ConfigError("KFP_TOKEN", "***", "must be one word of ASCII", "copy the token again, without quotes")
        return cls(host.rstrip("/"), namespace or None, token or None)

    def client(self) -> api.ApiClient:
        """A client that asks once: a server that is away is the caller's to know."""
        configuration = api.Configuration(host=self.host)
        configuration.retries = False
        if self.token:
            configuration.api_key = {"authorization": self.token}
            configuration.api_key_prefix = {"authorization": "Bearer"}
        return api.ApiClient(configuration)

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Turn what the client raises into one line that says what to do, without the token.

        Raises:
            MosoError: the server is away, refuses, or is not Kubeflow's.
        """
        try:
            yield
        except api.ApiException as error:
            raise MosoError(f"{what}: {self.host} {self._refusal(error)}") from None
        except urllib3.exceptions.HTTPError as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split())
            reason = self._clean(re.sub(r"<[^>]*>:?\s*", "", reason))
            remedy = "check KFP_HOST, the network, or that `kubectl port-forward` still runs"
            raise MosoError(f"{what}: {self.host} does not answer ({reason}); {remedy}") from None

    def _refusal(self, error: api.ApiException) -> str:
        if error.status in (301, 302, 303, 307, 308, 401):
            if not self.token:
                return "asks for a token: export KFP_TOKEN, or --token-file FILE"
            return "does not take this token; get a new one, and set KFP_TOKEN or --token-file"
        text = self._clean(_message(error.body)) or str(error.reason)
        if error.status == 403:
            return f"does not allow it ({text}); check KFP_NAMESPACE, or ask its administrator for the right"
        if error.status == 404:
            return f"knows no such thing ({text}); check that KFP_HOST is the address of Kubeflow Pipelines 2"
        return f"refuses with {error.status}: {text}"

    def _clean(self, text: str) -> str:
        return redact(text.replace(self.token, "***") if self.token else text)


def _message(body: Any) -> str:
    """The server's own words, in one line of at most 300 characters."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        answer = json.loads(text)
        text = str(answer.get("message") or answer.get("error") or text) if isinstance(answer, dict) else text
    except ValueError:
        text = re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:300]


@dataclass(frozen=True)
class Launch:
    """What is to run.

    Attributes:
        name: of the run or of the recurring run.
        experiment: the experiment that it is filed in; made where missing.
        pipeline_spec: pipeline_spec and platform_spec as plain data.
        parameters: the pipeline's parameters.
        pipeline_root: s3://bucket/prefix for all artefacts; None: the server's default.
        service_account: of the pods; None: the server's default.
    """

    name: str
    experiment: str
    pipeline_spec: dict[str, Any]
    parameters: dict[str, Any]
    pipeline_root: str | None = None
    service_account: str | None = None

    def runtime_config(self) -> api.V2beta1RuntimeConfig:
        """Parameters and artefact root as the server takes them."""
        return api.V2beta1RuntimeConfig(parameters=self.parameters, pipeline_root=self.pipeline_root)


def launch_of(
    arguments: Mapping[str, Any],
    ingest: Any,
    cluster: Cluster,
    *,
    name: str,
    experiment: str,
    raw_digest: str | None = None,
    pipeline_root: str | None = None,
    service_account: str | None = None,
) -> Launch:
    """The compiled pipeline with its arguments, checked as far as it can be without the cluster.

    Args:
        arguments: `pipelines.training.arguments`.
        ingest: ingest's config.
        cluster: how the steps sit on it.
        name, experiment, pipeline_root, service_account: as in Launch.
        raw_digest: see `caching.raw_digest_of`.

    Raises:
        ConfigError: no MLflow server, a Ray cluster that a pod cannot hand its step to, other GPUs for the workers than
            the pod has, another artefact root than an object store, or an argument that holds a secret.
    """
    check_launch(arguments, cluster, pipeline_root)
    raw = raw_digest_of(ingest, raw_digest)
    return Launch(
        name,
        experiment,
        pipeline_spec(compiled(cluster, cache_keys(arguments, raw))),
        {**arguments, "raw_digest": raw or ""},
        pipeline_root,
        service_account,
    )


def check_launch(arguments: Mapping[str, Any], cluster: Cluster, pipeline_root: str | None) -> None:
    """Refuse what would fail on the cluster, or be shown there.

    Raises:
        ConfigError: as `launch_of`.
    """
    cluster.check_tracking()
    _check_ray(build(Scaling, arguments["ray"], "ray"), cluster)
    _check_secrets(arguments, "arguments")
    if pipeline_root and not pipeline_root.startswith(ROOTS):
        raise ConfigError("--pipeline-root", pipeline_root, f"must begin with {', '.join(ROOTS)}")


def pipeline_spec(text: str) -> dict[str, Any]:
    """Compiled YAML as the server's field `pipeline_spec` takes it: the pipeline and what is Kubernetes' of it."""
    first, *rest = yaml.safe_load_all(text)
    if not rest:
        return {"pipeline_spec": first}
    return {"pipeline_spec": first, "platform_spec": rest[0]}


def submit(server: Server, launch: Launch) -> str:
    """Create a run; returns the address of its page.

    Raises:
        MosoError: the server is away, refuses, or is not Kubeflow's.
    """
    with server.client() as client, server.asking("submit"):
        run = api.V2beta1Run(
            display_name=launch.name,
            experiment_id=experiment_id(server, client, launch.experiment),
            pipeline_spec=launch.pipeline_spec,
            runtime_config=launch.runtime_config(),
            service_account=launch.service_account,
        )
        made = api.RunServiceApi(client).run_service_create_run(run, _request_timeout=TIMEOUT)
        return f"{server.host}/#/runs/details/{given(made, 'run_id', server)}"


def experiment_id(server: Server, client: api.ApiClient, name: str) -> str:
    """The id of the experiment of that name; it is made where there is none."""
    service = api.ExperimentServiceApi(client)
    options = {"namespace": server.namespace} if server.namespace else {}
    found = service.experiment_service_list_experiments(filter=named(name), _request_timeout=TIMEOUT, **options)
    for one in found.experiments or []:
        if one.display_name == name and one.storage_state != api.V2beta1ExperimentStorageState.ARCHIVED:
            return given(one, "experiment_id", server)
    wanted = api.V2beta1Experiment(display_name=name, namespace=server.namespace)
    made = service.experiment_service_create_experiment(wanted, _request_timeout=TIMEOUT)
    return given(made, "experiment_id", server)


def named(name: str) -> str:
    """A filter of the server's: things of that name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def given(answer: Any, name: str, server: Server) -> str:
    """A field of an answer that must be there; a login page has none."""
    value: str | None = getattr(answer, name, None)
    if not value:
        remedy = "check KFP_HOST (a login page in front asks for KFP_TOKEN)"
        raise MosoError(f"{server.host} does not answer as Kubeflow Pipelines 2 does; {remedy}")
    return value


def _check_ray(ray: Scaling, cluster: Cluster) -> None:
    if ray.hands_over:
        _check_handing_over(ray, cluster)
        return
    if ray.address != "local":
        rule = "is another machine's, which cannot see the artefacts in a Kubeflow pod"
        remedy = "local starts Ray in the step's pod, http://HEAD:8265 with ray.shared hands the step to that cluster"
        raise ConfigError("ray.address", ray.address, rule, remedy)
    if not ray.on_ray:
        return
    wanted = ray.workers * ray.gpus_per_worker
    for step in ON_RAY:
        there = cluster.resources_of(step).gpus
        if wanted > there or (there and not wanted):
            rule = f"{ray.workers} workers with {ray.gpus_per_worker} GPUs each run in the step's own pod"
            raise ConfigError(f"cluster.yaml resources.{step}.gpus", there, rule, f"set it to {wanted}")


def _check_handing_over(ray: Scaling, cluster: Cluster) -> None:
    """Each step's pod must have ray.shared on a claim, the same for all; and no GPU, which would stand idle."""
    claims: dict[tuple[str, str, str], str] = {}
    for step in ON_RAY:
        volume = cluster.volume_at(step, ray.shared or "")
        if volume is None:
            rule = f"lies on no claim of {step}'s pod, and the cluster at {ray.address} sees claims alone"
            remedy = "add the cluster's claim to cluster.yaml's volumes, at the path that it has there"
            raise ConfigError("ray.shared", ray.shared, rule, remedy)
        claims[volume.claim, volume.path, volume.sub_path] = step
        if gpus := cluster.resources_of(step).gpus:
            rule = f"would stand idle: the workers compute on the cluster at {ray.address}"
            raise ConfigError(f"cluster.yaml resources.{step}.gpus", gpus, rule, "set it to 0")
    if len(claims) > 1:
        names = ", ".join(f"{claim} at {path} ({step})" for (claim, path, _), step in claims.items())
        raise ConfigError("ray.shared", ray.shared, f"lies on several claims: {names}", "mount one in all three steps")


def _check_secrets(value: Any, at: str) -> None:
    if isinstance(value, Mapping):
        for name, one in value.items():
            _check_secrets(one, f"{at}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, one in enumerate(value):
            _check_secrets(one, f"{at}[{index}]")
    elif isinstance(value, str) and redact(value) != value:
        rule = "holds a secret, and Kubeflow would show it to everyone"
        raise ConfigError(at, redact(value), rule, "give it as a Kubernetes Secret (cluster.yaml)")
