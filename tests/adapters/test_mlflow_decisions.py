"""The log of decisions in a real store: what was tampered with is named, and aliases follow it, also after a kill."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from moso.adapters import mlflow_lock
from moso.adapters.mlflow_client import TrackingError
from moso.adapters.mlflow_decisions import FILE, DecisionLog, TamperedError
from moso.adapters.mlflow_registry import Registry, Version
from moso.adapters.mlflow_tracking import MlflowTracker
from moso.cli.registry import command
from moso.errors import ConfigError, DataError
from moso.registry.decision_log import Aliases

NAME = "moso-log"


@pytest.fixture
def uri(store, tmp_path) -> str:
    """A store of the test's own: a copy, made in no time, of the module's empty one."""
    shutil.copyfile(store.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def made(uri: str, count: int) -> list[Version]:
    """A registered model with so many versions, which no policy has seen."""
    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    place = Path(uri.removeprefix("sqlite:///")).parent
    numbers = [int(client.create_model_version(NAME, source=str(place)).version) for _ in range(count)]
    return [Version(NAME, number, {}, "") for number in numbers]


@pytest.fixture
def log(uri) -> DecisionLog:
    """Version 1 promoted, 2 kept, 3 promoted, 3 rolled back."""
    one, two, three = made(uri, 3)
    log = DecisionLog(Registry(uri), NAME)
    for version, promote in ((one, True), (two, False), (three, True)):
        with log.hold():
            log.decided("promoted" if promote else "kept", version, promote, ["because"], {"question": "q"})
    log.rollback("it blurs the gripper")
    return log


def run_of(log: DecisionLog, number: int) -> str:
    (run,) = log._runs(f"tags.`moso.decision.number` = '{number}'")
    return run.info.run_id


def test_aliases_follow_the_decisions_and_the_log_is_whole(log):
    history = log.history()
    assert (history.fault, history.aliases) == ("", Aliases(champion=1, challenger=3, previous=None))
    assert [(e.number, e.action, e.version) for e in history.chain.entries] == [
        (1, "promoted", 1),
        (2, "kept", 2),
        (3, "promoted", 3),
        (4, "rolled_back", 3),
    ]
    assert history.chain.entries[2].after == Aliases(champion=3, challenger=2, previous=1)
    assert history.chain.entries[3].reasons == ("it blurs the gripper",)


def edit_a_tag(log: DecisionLog) -> None:
    log._client.set_tag(run_of(log, 2), "moso.decision.action", "promoted")


def edit_the_file(log: DecisionLog) -> None:
    run_id = run_of(log, 2)
    folder = Path(log._client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(text.replace("because", "of course"))


def delete_a_run(log: DecisionLog) -> None:
    log._client.delete_run(run_of(log, 2))


def unfinish_a_run(log: DecisionLog) -> None:
    log._client.update_run(run_of(log, 2), status="KILLED")


def swap_two(log: DecisionLog) -> None:
    two, three = run_of(log, 2), run_of(log, 3)
    log._client.set_tag(two, "moso.decision.number", "3")
    log._client.set_tag(three, "moso.decision.number", "2")


@pytest.mark.parametrize("tamper", [edit_a_tag, edit_the_file, delete_a_run, unfinish_a_run, swap_two])
def test_a_log_that_was_tampered_with_names_the_first_wrong_decision_and_promotes_nothing(log, tamper):
    tamper(log)
    assert "decision 2" in log.history().fault
    with pytest.raises(TamperedError, match="decision 2"):
        log.promote(Version(NAME, 2, {}, ""), "all the same")
    assert log.aliases() == Aliases(champion=1, challenger=3)


def test_the_newest_decision_cut_off_is_missed(log):
    run_id = run_of(log, 4)
    log._client.update_run(run_id, status="KILLED")
    log._client.set_tag(run_id, "moso.decision.digest", "0" * 64)
    assert "is not the newest that was filed" in log.history().fault


def test_an_alias_moved_without_moso_is_seen_and_filed_before_the_next_decision(log):
    log._client.set_registered_model_alias(NAME, "champion", "2")
    assert log.history().fault == "moved outside of moso: champion is version 2, the log says version 1"
    log.promote(Version(NAME, 3, {}, ""), "on purpose")
    history = log.history()
    assert history.fault == ""
    assert [e.action for e in history.chain.entries[4:]] == ["moved_outside", "promoted_by_hand"]
    assert history.chain.entries[-1].after.previous == 2


def test_a_decision_killed_before_the_aliases_moved_is_carried_out_by_the_next(log, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "_carry_out", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.promote(Version(NAME, 2, {}, ""), "on purpose")
    assert log.aliases().champion == 1
    with log.hold():
        assert log.aliases() == Aliases(champion=2, challenger=3, previous=1)
    assert log.history().fault == ""
    assert len(log.history().chain.entries) == 5


def test_a_decision_killed_before_it_became_part_of_the_log_is_left_out(log, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(log._client, "set_registered_model_tag", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.promote(Version(NAME, 2, {}, ""), "on purpose")
    assert log.history().fault == ""
    log.promote(Version(NAME, 2, {}, ""), "again")
    history = log.history()
    assert (history.fault, history.aliases.champion, len(history.chain.entries)) == ("", 2, 5)


def test_a_rollback_passes_over_a_version_that_was_deleted_since(log):
    for number in (2, 3):
        log.promote(Version(NAME, number, {}, ""), "on purpose")
    log._client.delete_model_version(NAME, "1")
    log.rollback("it blurs again")
    assert log.history().aliases == Aliases(champion=2, challenger=3, previous=None)
    assert log.history().fault == ""


def test_a_decision_about_a_version_that_was_deleted_before_it_was_carried_out_blocks_nothing(log, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "_carry_out", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.promote(Version(NAME, 2, {}, ""), "on purpose")
    log._client.delete_model_version(NAME, "2")
    log.promote(Version(NAME, 3, {}, ""), "instead")
    history = log.history()
    assert (history.fault, history.aliases.champion) == ("", 3)
    assert [entry.action for entry in history.chain.entries[4:]] == [
        "promoted_by_hand",
        "moved_outside",
        "promoted_by_hand",
    ]


def test_a_champion_s_alias_is_none_that_moves_with_it(log, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = CliRunner().invoke(command, ["rollback", NAME, "--reason", "r", "--alias", "previous"])
    assert isinstance(done.exception, ConfigError)
    assert "moves with the champion" in str(done.exception)


def test_what_cannot_be_rolled_back_or_promoted_is_said(log):
    with pytest.raises(DataError, match="no previous champion"):
        log.rollback("further")
    with pytest.raises(DataError, match="is the champion already"):
        log.promote(Version(NAME, 1, {}, ""), "again")
    with pytest.raises(TrackingError, match="lock"):
        log.decided("kept", Version(NAME, 2, {}, ""), False, [], {})


def test_of_20_promotions_at_once_each_follows_the_one_before_and_one_champion_is_left(uri):
    versions = made(uri, 20)
    ready = threading.Barrier(20)

    def promote(version: Version) -> None:
        log = DecisionLog(Registry(uri), NAME)
        ready.wait()
        with log.hold():
            log.decided("promoted", version, True, ["because"], {})

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(promote, versions))
    history = DecisionLog(Registry(uri), NAME).history()
    entries = history.chain.entries
    assert history.fault == ""
    assert [e.number for e in entries] == list(range(1, 21))
    assert sorted(e.version for e in entries) == list(range(1, 21))
    assert [e.before.champion for e in entries] == [None, *(e.version for e in entries[:-1])]
    assert history.aliases == Aliases(entries[-1].version, None, entries[-2].version)


def test_the_command_line_shows_promotes_rolls_back_and_ends_with_1_where_the_log_is_not_whole(log, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    runner = CliRunner()
    promoted = runner.invoke(command, ["promote", f"models:/{NAME}/2", "--reason", "measured on the robot"])
    assert promoted.exit_code == 0, promoted.output
    assert "version 2 promoted_by_hand  (champion 2, challenger 3, previous 1)" in promoted.output
    back = runner.invoke(command, ["rollback", NAME, "--reason", "no better"])
    assert "version 2 rolled_back  (champion 1, challenger 2)" in back.output
    shown = runner.invoke(command, ["history", NAME])
    assert shown.exit_code == 0
    assert "whole: 6 decisions; the newest is" in shown.output
    assert "measured on the robot" in shown.output
    told = json.loads(runner.invoke(command, ["history", NAME, "--json"]).output)
    assert (told["whole"], told["aliases"]["champion"], len(told["decisions"])) == (True, 1, 6)
    assert told["decisions"][5]["previous"] == told["decisions"][4]["digest"]
    assert runner.invoke(command, ["promote", f"models:/{NAME}/2"]).exit_code == 2  # no reason
    edit_a_tag(log)
    broken = runner.invoke(command, ["history", NAME])
    assert broken.exit_code == 1
    assert "not whole: decision 2" in broken.output


# The lock of a server, over a real store: its rule is made of unique creation alone, which every store has.


def generations(client: MlflowClient, lease_s: float = 60.0) -> mlflow_lock._Generations:
    return mlflow_lock._Generations(client, "here", NAME, lease_s)


def test_a_server_s_lock_is_held_by_one_of_8_at_a_time(uri):
    inside, most = [], []

    def hold() -> None:
        lock = generations(MlflowClient(uri, uri))
        lock.take()
        inside.append(1)
        most.append(len(inside))
        lock.check()
        inside.pop()
        lock.release()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(hold) for _ in range(8)]:
            done.result()
    assert most == [1] * 8


def test_a_holder_that_died_is_followed_after_its_lease_and_finds_out_when_it_wakes(uri):
    client = MlflowClient(uri, uri)
    dead = generations(client)
    dead.take()  # and no beat
    next_one = generations(client, lease_s=0.5)
    next_one.take()
    next_one.check()
    with pytest.raises(TrackingError, match="taken over"):
        dead.check()


def test_a_holder_that_lives_changes_its_beat_and_leaves_the_lock_free_when_it_ends(uri):
    client = MlflowClient(uri, uri)
    alive = generations(client, lease_s=0.6)
    alive.take()
    beats = {alive._newest()[1][mlflow_lock.BEAT]}
    beating = threading.Thread(target=alive.beat_on, daemon=True)
    beating.start()
    while len(beats) < 2:  # however slow the machine is
        beats.add(alive._newest()[1][mlflow_lock.BEAT])
    alive.ending.set()
    beating.join()
    assert mlflow_lock.RELEASED not in alive._newest()[1]
    alive.release()
    following = generations(client)  # at once, not after its lease of a minute
    following.take()
    assert following.number == alive.number + 1


def test_an_old_generation_made_anew_by_one_that_slept_is_given_back(uri):
    client = MlflowClient(uri, uri)
    for _ in range(3):
        lock = generations(client)
        lock.take()
        lock.release()
    assert [m.name for m in client.search_registered_models(f"name LIKE '{NAME}.lock.%'")] == [f"{NAME}.lock.000003"]
    slept = generations(client)
    assert slept._create(2)  # as it meant to, before it slept
    assert slept._newest()[0] == 3  # so that `take` gives it back


def test_models_whose_names_a_search_takes_for_each_other_have_locks_of_their_own(uri):
    client = MlflowClient(uri, uri)
    other, ours = (mlflow_lock._Generations(client, "here", name, 60.0) for name in ("moso-a.b", "moso-a_b"))
    other.take()  # "_" stands for any character where MLflow searches
    ours.take()
    assert (other.number, ours.number) == (1, 1)
    ours.release()
    ours.take()
    other.check()


def test_secrets_planted_in_reasons_addresses_and_the_environment_are_nowhere_in_the_store(
    log, uri, monkeypatch, capsys
):
    """The database and every file of it, as bytes: an unknown place is searched, too."""
    planted = "hunter2-planted"
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "KFP_TOKEN", "MOSO_WEBHOOK"):
        monkeypatch.setenv(name, f"https://me:{planted}@hooks.example.org/{planted}")
    log.promote(Version(NAME, 2, {}, ""), f"see https://me:{planted}@wiki.example.org/x?signature={planted}")
    tracker = MlflowTracker(uri)
    params = {"raw": f"s3://key:{planted}@bucket/x", "db": {"password": planted}, "hf_token": planted}
    tracker.start("a run", params=params, tags={"from": f"postgresql://me:{planted}@db/mlflow"})
    tracker.finish()
    print(log.registry.command_to_promote("champion", Version(NAME, 2, {}, "")))
    folder = Path(uri.removeprefix("sqlite:///")).parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == FILE for path in files)
    assert [path for path in files if planted.encode() in path.read_bytes()] == []
    assert b"wiki.example.org" in b"".join(path.read_bytes() for path in files)  # what was not secret is there
    shown = capsys.readouterr()
    assert planted not in shown.out + shown.err
