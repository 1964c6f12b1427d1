"""A Kubeflow Pipelines API server on loopback that takes only what kfp-server-api's own models allow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import pytest
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.pipelines.openapi import check_against

TOKEN = "planted-token-3f81"
API = "/apis/v2beta1"


def check_launch(body: dict[str, Any]) -> None:
    """The pipeline parses strictly as kfp's own messages, and gets every parameter that it has, and no other."""
    spec = pipeline_spec_pb2.PipelineSpec()
    assert set(body["pipeline_spec"]) == {"pipeline_spec", "platform_spec"}
    json_format.ParseDict(body["pipeline_spec"]["pipeline_spec"], spec)
    platform = pipeline_spec_pb2.PlatformSpec()
    json_format.ParseDict(body["pipeline_spec"]["platform_spec"], platform)
    executors = platform.platforms["kubernetes"].deployment_spec.executors
    for executor in executors.values():
        json_format.ParseDict(
            json_format.MessageToDict(executor), kubernetes_executor_config_pb2.KubernetesExecutorConfig()
        )
    declared = spec.root.input_definitions.parameters
    given = body["runtime_config"]["parameters"]
    assert set(given) <= set(declared)
    assert {name for name, one in declared.items() if not one.is_optional} <= set(given)


@dataclass
class Kubeflow:
    """What the server holds, what it was asked, and what it is to do wrong."""

    address: str = ""
    token: str | None = TOKEN
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    most_enabled: int = 0
    refused: list[str] = field(default_factory=list)
    fail: dict[str, tuple[int, str]] = field(default_factory=dict)
    page: int = 100

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if f"{method} {path}" in self.fail:
            status, text = self.fail[f"{method} {path}"]
            return status, text
        match method, path.removeprefix(API).split("/")[1:]:
            case "GET", ["experiments"]:
                return 200, {"experiments": self.of_name(self.experiments, query)}
            case "POST", ["experiments"]:
                return 200, self.add(self.experiments, "V2beta1Experiment", "experiment_id", body, {"display_name"})
            case "POST", ["runs"]:
                check_launch(body)
                needed = {"display_name", "experiment_id", "pipeline_spec", "runtime_config"}
                return 200, self.add(self.runs, "V2beta1Run", "run_id", body, needed)
            case "GET", ["recurringruns"]:
                found = self.of_name(self.recurring, query)
                first = int(query.get("page_token", 0))
                page = {"recurringRuns": found[first : first + self.page], "total_size": len(found)}
                if first + self.page < len(found):
                    page["next_page_token"] = str(first + self.page)
                check_against(kfp_server_api, "V2beta1ListRecurringRunsResponse", page, "page")
                return 200, page
            case "POST", ["recurringruns"]:
                check_launch(body)
                assert body["trigger"]["cron_schedule"]["cron"]
                status = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
                needed = {"display_name", "experiment_id", "pipeline_spec", "runtime_config", "trigger", "mode"}
                needed |= {"max_concurrency", "no_catchup"}
                made = self.add(self.recurring, "V2beta1RecurringRun", "recurring_run_id", body, needed)
                made["status"] = status
                self.count()
                return 200, made
            case "DELETE", ["recurringruns", one]:
                self.recurring.remove(self.one(one))
                return 200, {}
            case "POST", ["recurringruns", action]:
                one, _, verb = action.partition(":")
                self.one(one)["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[verb]
                self.count()
                return 200, {}
        return 404, {"code": 5, "message": "Not Found"}

    def of_name(self, held: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        given = json.loads(query["filter"])
        check_against(kfp_server_api, "V2beta1Filter", snake(given), "filter")
        (predicate,) = given["predicates"]
        assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
        found = [one for one in held if one["display_name"] == predicate["stringValue"]]
        return [one for one in found if one.get("namespace") in (None, query.get("namespace"))]

    def add(self, held: list[Any], model: str, identity: str, body: Any, needed: set[str]) -> dict[str, Any]:
        check_against(kfp_server_api, model, body, model)
        assert needed <= set(body), f"{model}: without {needed - set(body)}"
        made = {**body, identity: f"{identity}-{len(self.asked)}"}
        held.append(made)
        return made

    def one(self, identity: str) -> dict[str, Any]:
        return next(one for one in self.recurring if one["recurring_run_id"] == identity)

    def count(self) -> None:
        self.most_enabled = max(self.most_enabled, sum(one["status"] == "ENABLED" for one in self.recurring))


def snake(given: dict[str, Any]) -> dict[str, Any]:
    """A filter as the model spells it: protobuf's JSON takes stringValue as well as string_value."""
    predicates = [{("string_value" if k == "stringValue" else k): v for k, v in p.items()} for p in given["predicates"]]
    return {**given, "predicates": predicates}


@pytest.fixture
def kubeflow() -> Iterator[Kubeflow]:
    """A server; an unfit request is answered with 400, its fault, and is in `refused`."""
    held = Kubeflow()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            if held.token and self.headers.get("Authorization") != f"Bearer {held.token}":
                said = f"{self.headers.get('Authorization')} is not valid"  # as careless servers echo it
                status, answer = 401, {"message": said}
            else:
                try:
                    query = {name: values[0] for name, values in parse_qs(url.query).items()}
                    status, answer = held.answer(self.command, url.path, query, body)
                except (AssertionError, KeyError, json_format.ParseError) as error:
                    held.refused.append(repr(error))
                    status, answer = 400, {"message": repr(error)}
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_one

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield held
    server.shutdown()
    server.server_close()
    thread.join()
    assert held.refused == []
