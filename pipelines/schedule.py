"""A recurring run on a Kubeflow server: `moso pipeline schedule`. One of a name, however often it is asked for.

The API has no update. So what is there under the name is switched off, the new one is made, the old one removed: at no
time two of them would start runs, and where the new one is refused the old one is switched on again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import kfp_server_api as api  # type: ignore[import-untyped]

from moso.errors import ConfigError, MosoError
from moso.provenance import digest_json
from pipelines.submit import TIMEOUT, Launch, Server, experiment_id, given, named

PAGE = 100
RecurringRun = Any  # kfp_server_api.V2beta1RecurringRun, which has no types


@dataclass(frozen=True)
class Scheduled:
    """What became of a schedule: its page, and whether it was made, replaced or there already."""

    address: str
    outcome: Literal["created", "updated", "unchanged"]


def cron_of(text: str) -> str:
    """A cron expression as Kubeflow reads it: six fields, the first of them seconds.

    Args:
        text: five fields (as in crontab: second 0), six, or one of @hourly, @daily, @weekly, @monthly, @every 12h.

    Raises:
        ConfigError: another number of fields.
    """
    fields = text.split()
    if fields and fields[0].startswith("@") and len(fields) == (2 if fields[0] == "@every" else 1):
        return " ".join(fields)
    if len(fields) not in (5, 6) or fields[0].startswith("@"):
        raise ConfigError("--cron", text, "must have five fields, or six with seconds first", "'0 3 * * *' is 3:00 UTC")
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def schedule(server: Server, launch: Launch, cron: str) -> Scheduled:
    """Make the recurring run of the launch's name, or bring the one that is there up to date.

    Args:
        server: where.
        launch: what each run does.
        cron: when, in the form of `cron_of`'s result.

    Raises:
        MosoError: the server is away, refuses, or is not Kubeflow's.
    """
    with server.client() as client, server.asking("schedule"):
        service = api.RecurringRunServiceApi(client)
        wanted = _wanted(launch, cron, experiment_id(server, client, launch.experiment))
        there = _of_name(server, service, launch.name)
        same = next((one for one in there if _enabled(one) and one.description == wanted.description), None)
        others = [one for one in there if one is not same]
        made = _replace(server, service, wanted, others) if same is None else same
        for one in others:
            service.recurring_run_service_delete_recurring_run(one.recurring_run_id, _request_timeout=TIMEOUT)
        outcome: Literal["created", "updated", "unchanged"]
        outcome = "unchanged" if same is not None and not others else "updated" if there else "created"
        return Scheduled(f"{server.host}/#/recurringrun/details/{given(made, 'recurring_run_id', server)}", outcome)


def _wanted(launch: Launch, cron: str, experiment: str) -> RecurringRun:
    content = [launch.pipeline_spec, launch.parameters, launch.pipeline_root, launch.service_account, cron, experiment]
    return api.V2beta1RecurringRun(
        display_name=launch.name,
        description=f"made by `moso pipeline schedule`; content {digest_json(content)}",
        experiment_id=experiment,
        pipeline_spec=launch.pipeline_spec,
        runtime_config=launch.runtime_config(),
        service_account=launch.service_account,
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
        max_concurrency="1",  # two trainings would wait for each other's work folder
        no_catchup=True,  # a server that was away starts one run, not one for each that was missed
        mode=api.RecurringRunMode.ENABLE,
    )


def _of_name(server: Server, service: Any, name: str) -> list[RecurringRun]:
    """All recurring runs of that name in the namespace, page after page."""
    found: list[RecurringRun] = []
    options: dict[str, Any] = {"namespace": server.namespace} if server.namespace else {}
    while True:
        page = service.recurring_run_service_list_recurring_runs(
            filter=named(name), page_size=PAGE, _request_timeout=TIMEOUT, **options
        )
        if page.total_size and not page.recurring_runs and not found:
            raise MosoError(
                f"{server.host} counts {page.total_size} recurring runs and lists none; nothing was changed"
            )
        found += [one for one in page.recurring_runs or [] if one.display_name == name]
        if not page.next_page_token:
            return found
        options["page_token"] = page.next_page_token


def _replace(server: Server, service: Any, wanted: RecurringRun, others: list[RecurringRun]) -> RecurringRun:
    running = [one for one in others if _enabled(one)]
    for one in running:
        service.recurring_run_service_disable_recurring_run(one.recurring_run_id, _request_timeout=TIMEOUT)
    try:
        with server.asking("schedule"):
            return service.recurring_run_service_create_recurring_run(wanted, _request_timeout=TIMEOUT)
    except MosoError:
        for one in running:
            service.recurring_run_service_enable_recurring_run(one.recurring_run_id, _request_timeout=TIMEOUT)
        raise


def _enabled(one: RecurringRun) -> bool:
    return bool(one.status == api.V2beta1RecurringRunStatus.ENABLED)
