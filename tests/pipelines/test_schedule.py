"""`moso pipeline schedule`: one recurring run of a name, whatever was there and whatever fails."""

from __future__ import annotations

import dataclasses

import pytest

from moso.errors import ConfigError, MosoError
from pipelines.cluster import load_cluster
from pipelines.schedule import cron_of, schedule
from pipelines.submit import Launch, Server, pipeline_spec
from pipelines.training import compiled
from tests.pipelines.conftest import API, TOKEN, Kubeflow

NIGHTLY = "0 0 3 * * *"
EMPTY = ("ingest", "preprocess", "train_vqvae", "extract_tokens", "train_transformer", "evaluate", "promote", "ray")


@pytest.fixture(scope="module")
def launch() -> Launch:
    spec = pipeline_spec(compiled(load_cluster()))
    return Launch("nightly", "moso", spec, {name: {} for name in EMPTY}, "s3://bucket/root")


def server_of(kubeflow: Kubeflow) -> Server:
    return Server.of(kubeflow.address, "team", TOKEN)


def test_a_schedule_is_made_once_and_asked_for_again_is_left_alone(kubeflow: Kubeflow, launch: Launch) -> None:
    first = schedule(server_of(kubeflow), launch, NIGHTLY)
    (made,) = kubeflow.recurring
    assert first.outcome == "created"
    assert first.address.endswith(made["recurring_run_id"])
    assert made["trigger"] == {"cron_schedule": {"cron": NIGHTLY}}
    assert (made["max_concurrency"], made["no_catchup"], made["status"]) == ("1", True, "ENABLED")
    again = schedule(server_of(kubeflow), launch, NIGHTLY)
    assert again.outcome == "unchanged"
    assert again.address == first.address
    assert kubeflow.recurring == [made]


def test_another_time_replaces_it_and_never_are_two_enabled(kubeflow: Kubeflow, launch: Launch) -> None:
    schedule(server_of(kubeflow), launch, NIGHTLY)
    assert schedule(server_of(kubeflow), launch, "0 0 5 * * *").outcome == "updated"
    (left,) = kubeflow.recurring
    assert left["trigger"]["cron_schedule"]["cron"] == "0 0 5 * * *"
    assert left["status"] == "ENABLED"
    assert kubeflow.most_enabled == 1


def test_other_settings_replace_it_too(kubeflow: Kubeflow, launch: Launch) -> None:
    schedule(server_of(kubeflow), launch, NIGHTLY)
    changed = dataclasses.replace(launch, parameters={**launch.parameters, "evaluate": {"videos": 2}})
    assert schedule(server_of(kubeflow), changed, NIGHTLY).outcome == "updated"
    (left,) = kubeflow.recurring
    assert left["runtime_config"]["parameters"]["evaluate"] == {"videos": 2}


def test_a_refused_change_leaves_the_old_one_running(kubeflow: Kubeflow, launch: Launch) -> None:
    schedule(server_of(kubeflow), launch, NIGHTLY)
    kubeflow.fail[f"POST {API}/recurringruns"] = (500, '{"message": "no room"}')
    with pytest.raises(MosoError, match="refuses with 500: no room"):
        schedule(server_of(kubeflow), launch, "0 0 5 * * *")
    (left,) = kubeflow.recurring
    assert left["trigger"]["cron_schedule"]["cron"] == NIGHTLY
    assert left["status"] == "ENABLED"


def test_doubles_made_by_hand_become_one_over_several_pages_and_other_names_stay(
    kubeflow: Kubeflow, launch: Launch
) -> None:
    kubeflow.page = 2
    for number in range(5):
        made = {"display_name": "nightly", "recurring_run_id": f"by-hand-{number}", "status": "DISABLED"}
        kubeflow.recurring.append(made)
    other = {"display_name": "weekly", "recurring_run_id": "other", "status": "ENABLED"}
    kubeflow.recurring.append(other)
    assert schedule(server_of(kubeflow), launch, NIGHTLY).outcome == "updated"
    assert [one["display_name"] for one in kubeflow.recurring] == ["weekly", "nightly"]


def test_after_a_kill_between_off_and_on_the_next_call_ends_with_one_that_runs(
    kubeflow: Kubeflow, launch: Launch
) -> None:
    schedule(server_of(kubeflow), launch, NIGHTLY)
    kubeflow.recurring[0]["status"] = "DISABLED"
    schedule(server_of(kubeflow), launch, NIGHTLY)
    (left,) = kubeflow.recurring
    assert left["status"] == "ENABLED"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0 3 * * *", NIGHTLY), (NIGHTLY, NIGHTLY), (" @daily ", "@daily"), ("@every 12h", "@every 12h")],
)
def test_a_crontab_s_five_fields_get_second_0(text: str, expected: str) -> None:
    assert cron_of(text) == expected


@pytest.mark.parametrize("text", ["", "daily", "0 3 * *", "0 0 0 3 * * *", "@every", "@daily 3"])
def test_another_number_of_fields_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--cron"):
        cron_of(text)
