"""Ray's Jobs API: a command handed to a cluster that this machine is no part of, and followed until it ends.

jobs = Jobs.at("http://head:8265")
job = jobs.running(name) or jobs.submit(name, command, environment)
ended = jobs.follow(job, stop)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from moso.adapters.ray import QUIET, RayError
from moso.adapters.redact import redact
from moso.step import StopSignal

TIMEOUT = (10, 60)
"""Seconds to connect, and for an answer; no source. Ray's client has none."""
LOOK_S = 1.0
PATIENCE_S = 300.0
"""How long a cluster may be away while a job of ours runs there: a head's pod is replaced within minutes."""
LOG_S = 30.0
"""How long the rest of an ended job's log is waited for."""
STOP_S = 600
"""How long a job that is asked to stop may take for its checkpoint. Ray's own 3 s would cost it."""


logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it logs every closed connection


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        job: its id.
        status: in Ray's words.
        exit_code: the command's, where it ran.
        line: the last line that the command wrote, or what Ray says of a job whose command did not.
    """

    job: str
    status: Literal["SUCCEEDED", "FAILED", "STOPPED"]
    exit_code: int | None
    line: str


class Jobs:
    """The jobs of one cluster. Attempt n of what is called `name` is the job `name`-n."""

    def __init__(self, address: str, client: JobSubmissionClient) -> None:
        self.address, self._client = address, client

    @classmethod
    def at(cls, address: str) -> Jobs:
        """The jobs of the cluster whose head answers at http(s)://host:port.

        RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names, is the token of a cluster that asks for one; ray
        must not have been imported before `show_token`.

        Raises:
            RayError: it is away, asks for a token or for another one, or is of another version of Ray.
        """
        # Ray's client takes another address from RAY_API_SERVER_ADDRESS or RAY_ADDRESS, whatever it is given.
        os.environ["RAY_API_SERVER_ADDRESS"] = address
        with _asking(address):
            client = _Client(address)
        theirs = client._server_ray_version
        if theirs != ray.__version__:
            remedy = "give the cluster and this step one image"
            raise RayError(f"ray.address = {address!r}: runs Ray {theirs}, this is {ray.__version__}; {remedy}")
        return cls(address, client)

    def running(self, name: str) -> str | None:
        """The id of the attempt that runs, or waits for its start."""
        with _asking(self.address):
            return next((job for job, status in self._attempts(name).values() if not status.is_terminal()), None)

    def submit(self, name: str, command: str, environment: Mapping[str, str]) -> str:
        """Start the next attempt; returns its id.

        Args:
            name: of what the command does; equal work has an equal name.
            command: for a shell on the cluster's head.
            environment: variables of the command, readable for everyone who sees the cluster's page.

        Raises:
            RayError: the cluster is away, or refuses.
        """
        with _asking(self.address):
            number = max(self._attempts(name), default=0) + 1
            settings = {"env_vars": {**QUIET, **environment, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)}}
            job: str = self._client.submit_job(
                entrypoint=command, submission_id=f"{name}-{number}", runtime_env=settings
            )
            return job

    def follow(self, job: str, stop: StopSignal) -> Ended:
        """Print the job's log, from its beginning, until it ends; a raised stop signal stops it.

        Raises:
            RayError: the cluster has been away for `PATIENCE_S`, or does not know the job any longer.
        """
        over = threading.Event()
        log = threading.Thread(target=self._print_log, args=(job, over), name="job-log", daemon=True)
        log.start()
        try:
            info = self._ended(job, stop)
            log.join(LOG_S)
        finally:
            over.set()
        if log.is_alive():
            print(f"{job}: the rest of its log is on {self.address}", file=sys.stderr, flush=True)
        lines = (info.message or "").strip().splitlines()
        return Ended(job, info.status.value, info.driver_exit_code, redact(lines[-1]) if lines else "")

    def _ended(self, job: str, stop: StopSignal) -> Any:
        """What Ray says of the job (JobDetails), once it has ended."""
        told, seen = False, time.monotonic()
        while True:
            try:
                with _asking(self.address):
                    info = self._client.get_job_info(job)
                    if info.status.is_terminal():
                        return info
                    if stop and not told:
                        self._client.stop_job(job)
                        told = True
                        print(f"{job}: asked to write what it has and end", file=sys.stderr, flush=True)
                seen = time.monotonic()
            except Away:
                if time.monotonic() - seen > PATIENCE_S:
                    raise
            time.sleep(LOOK_S)

    def _attempts(self, name: str) -> dict[int, tuple[str, JobStatus]]:
        """Number -> (id, status)."""
        found = {}
        for job in self._client.list_jobs():
            stem, _, number = (job.submission_id or "").rpartition("-")
            if stem == name and number.isdigit():
                found[int(number)] = (str(job.submission_id), job.status)
        return found

    def _print_log(self, job: str, over: threading.Event) -> None:
        """Until all of it is printed, or `over`. A connection that breaks is made anew, without what was printed."""
        printed = 0

        async def tail() -> None:
            nonlocal printed
            at = 0
            async for text in self._client.tail_job_logs(job):
                new = text[max(0, printed - at) :]
                at += len(text)
                printed = max(printed, at)
                sys.stdout.write(new)
                sys.stdout.flush()

        while not over.is_set():
            with contextlib.suppress(Exception):  # whether the cluster is still there is `follow`'s to say
                asyncio.run(tail())
                if self._client.get_job_info(job).status.is_terminal():
                    return
            time.sleep(LOOK_S)


class Away(RayError):
    """The cluster does not answer; it may again."""


class _Client(JobSubmissionClient):
    """Ray's client with an end to its patience."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        return super()._do_request(method, endpoint, timeout=TIMEOUT, **options)


@contextmanager
def _asking(address: str) -> Iterator[None]:
    """Turn what Ray's client raises into one line that says what to do."""
    at = f"ray.address = {address!r}"
    try:
        yield
    except AuthenticationError as error:
        if error.message.startswith("Authentication required"):
            rule, remedy = "asks for a token", "set RAY_AUTH_TOKEN (a Kubernetes Secret; docs/kubeflow.md)"
        else:
            rule, remedy = "does not take this token", "set RAY_AUTH_TOKEN to the cluster's own"
        raise RayError(f"{at}: {rule}; {remedy}") from None
    except (ConnectionError, requests.ConnectionError, requests.Timeout) as error:
        remedy = "is its head up, with a dashboard (--dashboard-host 0.0.0.0), and the address right?"
        raise Away(f"{at}: no answer ({_line(error)}); {remedy}") from None
    except requests.HTTPError as error:
        status = error.response.status_code
        kind = Away if status >= 500 else RayError
        raise kind(f"{at}: answers with {status}; is it the address of Ray's Jobs API?") from None
    except ValueError as error:
        raise RayError(f"{at}: does not answer as Ray's Jobs API does ({_line(error)})") from None
    except requests.RequestException as error:  # an answer that breaks off in the middle, say
        raise Away(f"{at}: no whole answer ({_line(error)}); is its head up?") from None
    except RuntimeError as error:  # Ray's client raises it bare, with the status in its text
        kind = Away if "status code 5" in str(error) else RayError
        raise kind(f"{at}: {_line(error)}") from None


def _line(error: BaseException) -> str:
    """What an error says, in one line without secrets."""
    text = " ".join(str(error).split())
    return redact(text[:300] or type(error).__name__)
