import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from moso.errors import CheckpointError, ConfigError, StopRequested
from moso.step import Context
from moso.training import checkpoint
from moso.training.config import OptimizerConfig
from moso.training.loop import NotFiniteError
from moso.training.random import key_seed

HERE = Path(__file__).parent


class Interrupted(Exception):
    """Stands for a kill between two steps."""


def weights(objective):
    return {name: value.clone() for name, value in objective.module.state_dict().items()}


def assert_equal(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def interrupt_at(step):
    def hook(now):
        if now == step:
            raise Interrupted

    return hook


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_four_steps_are_two_and_save_and_load_and_two(run, toy, config, optimizer, prefetch):
    settings = config(optimizer=OptimizerConfig(optimizer, learning_rate=0.02), prefetch=prefetch)
    whole = toy.Toy()
    history = run(whole, settings, work="whole")
    with pytest.raises(Interrupted):
        run(toy.Toy(hook=interrupt_at(2)), settings, work="halves")
    torch.rand(17)  # another process would have another global state
    resumed = toy.Toy()
    assert run(resumed, settings, work="halves") == history
    assert_equal(weights(whole), weights(resumed))
    assert resumed.after_steps == 4
    assert resumed.seen == whole.seen[2:]


def test_steps_after_the_last_checkpoint_are_done_again(run, toy, config):
    settings = config(steps=6, checkpoint_every=2)
    whole = toy.Toy()
    history = run(whole, settings, work="whole")
    with pytest.raises(Interrupted):
        run(toy.Toy(hook=interrupt_at(5)), settings, work="halves")
    resumed = toy.Toy()
    assert run(resumed, settings, work="halves") == history
    assert resumed.seen == whole.seen[4:]
    assert_equal(weights(whole), weights(resumed))


def rival_weights(objective):
    return {name: value.clone() for name, value in objective.rivals[0].module.state_dict().items()}


@pytest.mark.parametrize("interrupted_at", [2, 3, 4])
def test_a_rival_goes_on_where_it_was_whenever_the_kill_comes(run, toy, config, interrupted_at):
    """Killed before, at and after the first step of the rival (3), with a checkpoint after each step."""
    settings = config(steps=6)
    whole = toy.Toy(rival_from=3)
    history = run(whole, settings, work="whole")
    with pytest.raises(Interrupted):
        run(toy.Toy(hook=interrupt_at(interrupted_at), rival_from=3), settings, work="parts")
    resumed = toy.Toy(rival_from=3)
    assert run(resumed, settings, work="parts") == history
    assert_equal(weights(whole), weights(resumed))
    assert_equal(rival_weights(whole), rival_weights(resumed))
    assert whole.rivals[0].turns == [3, 4, 5]
    assert resumed.rivals[0].turns == [step for step in (3, 4, 5) if step >= interrupted_at]


def test_a_rivals_turn_comes_after_the_modules_with_an_optimizer_and_a_rate_of_its_own(run, toy, config):
    # Written out by hand: torch's own optimizers, the rival's on what the module said before its update.
    from moso.training.sampler import samples
    from moso.training.world import Solo

    settings = config(optimizer=OptimizerConfig("adamw", learning_rate=0.05), ema_decay=0.0, gradient_clip=0.5)
    by_loop, by_hand = toy.Toy(rival_from=2), toy.Toy(rival_from=2)
    history = run(by_loop, settings)
    rival = by_hand.rivals[0]
    optimizer = torch.optim.AdamW(by_hand.module.parameters(), weight_decay=0.0)
    rivals_own = torch.optim.Adam(rival.module.parameters())
    for step, factor in enumerate([1.0, 1.0, 0.75, 0.25]):
        dealt = samples(0, toy.SIZE, 4 * step, 4, Solo())
        torch.manual_seed(key_seed(0, "global", step, 0))
        optimizer.param_groups[0]["lr"], rivals_own.param_groups[0]["lr"] = 0.05 * factor, 0.1 * factor
        for turn, (one, module, loss) in enumerate(
            (
                (optimizer, by_hand.module, lambda at=step, of=dealt: by_hand.loss(by_hand.prepare(of), of, at)),
                (rivals_own, rival.module, lambda at=step: rival.loss(at)),
            )
        ):
            if turn == 0 or step >= 2:
                one.zero_grad()
                loss()[0].backward()
                torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
                one.step()
    for left, right in zip(by_loop.module.parameters(), by_hand.module.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    for left, right in zip(by_loop.rivals[0].module.parameters(), rival.module.parameters(), strict=True):
        torch.testing.assert_close(left, right)
    assert {"rival_loss", "rival_gap", "rival_gradient_norm"} < set(history[-1])
    assert not any(name.startswith("rival") for name in history[0])


def test_a_rival_whose_loss_is_not_finite_stops_the_training_by_name(run, toy, config):
    objective = toy.Toy(rival_from=2)
    objective.rivals[0].module.bias.data.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match=r"step 2: loss .*, on the clips point_"):
        run(objective, config())
    objective = toy.Toy(rival_from=2)
    objective.rivals[0].loss = lambda step: (objective.rivals[0].module.weight.sum() / 0, {})
    with pytest.raises(NotFiniteError, match=r"step 2: loss of rival inf, .*step_00000002"):
        run(objective, config(), work="other")


def test_an_update_that_is_not_finite_leaves_its_own_weights_alone_and_a_rivals_comes_after_the_modules(
    run, toy, config
):
    def failing(who):
        objective, seen = toy.Toy(rival_from=1), []
        objective.hook = lambda step: seen.append((weights(objective), rival_weights(objective)))
        loss = who(objective).loss

        def at_step_2(*args):
            value, figures = loss(*args)
            return (value / 0 if args[-1] == 2 else value), figures

        who(objective).loss = at_step_2
        return objective, seen

    objective, seen = failing(lambda o: o)
    with pytest.raises(NotFiniteError, match="step 2: loss "):
        run(objective, config(), work="module")
    assert_equal(weights(objective), seen[2][0])
    assert_equal(rival_weights(objective), seen[2][1])

    objective, seen = failing(lambda o: o.rivals[0])
    with pytest.raises(NotFiniteError, match="step 2: loss of rival "):
        run(objective, config(), work="rival")
    assert_equal(rival_weights(objective), seen[2][1])
    assert not torch.equal(objective.module[0].weight, seen[2][0]["0.weight"])


@pytest.mark.parametrize(("rival_from", "told"), [(None, 0), (3, 0), (4, 1), (50_000, 1)])
def test_a_rival_that_would_begin_after_the_last_step_is_told(run, toy, config, capsys, rival_from, told):
    run(toy.Toy(rival_from=rival_from), config(steps=4))
    lines = [line for line in capsys.readouterr().err.splitlines() if "never trained" in line]
    assert len(lines) == told
    assert all("toy: rival is never trained" in line and f"step {rival_from}" in line for line in lines)


def test_a_finished_training_ends_at_once_with_the_same_result(run, toy, config):
    first, second = toy.Toy(), toy.Toy()
    history = run(first, config())
    assert run(second, config()) == history
    assert second.seen == []
    assert_equal(weights(first), weights(second))


def test_another_seed_gives_another_result_and_the_global_random_state_none(run, toy, config):
    first, second, third = toy.Toy(), toy.Toy(), toy.Toy()
    torch.manual_seed(1)
    run(first, config(), work="a")
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    run(second, config(), work="b")
    assert torch.equal(state, torch.random.get_rng_state())
    run(third, config(), work="c", seed=1)
    assert_equal(weights(first), weights(second))
    assert not torch.equal(first.module[0].weight, third.module[0].weight)


def test_a_plain_loop_gives_the_same_weights(run, toy, config):
    # Written out by hand: dropout keyed by the step, order from the sampler, torch's own AdamW.
    from moso.training.sampler import samples
    from moso.training.world import Solo

    settings = config(optimizer=OptimizerConfig("adamw", learning_rate=0.05), ema_decay=0.0, gradient_clip=0.5)
    by_loop, by_hand = toy.Toy(), toy.Toy()
    run(by_loop, settings, seed=3)
    optimizer = torch.optim.AdamW(by_hand.module.parameters(), lr=0.05, weight_decay=0.0)
    rates = [0.05, 0.05, 0.05 * 0.75, 0.05 * 0.25]  # one step of warm-up, then (1 + cos(0, 60, 120 degrees)) / 2
    for step, rate in enumerate(rates):
        dealt = samples(3, toy.SIZE, 4 * step, 4, Solo())
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        torch.manual_seed(key_seed(3, "global", step, 0))
        by_hand.loss(by_hand.prepare(dealt), dealt, step)[0].backward()
        torch.nn.utils.clip_grad_norm_(by_hand.module.parameters(), 0.5)
        optimizer.step()
    for left, right in zip(by_loop.module.parameters(), by_hand.module.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_the_curve_holds_means_and_validations_and_no_times(run, toy, config):
    history = run(toy.Toy(), config())
    assert [row["step"] for row in history] == [2, 3, 4]
    assert set(history[0]) == {"step", "validation_error"}
    assert set(history[1]) == {"step", "loss", "absolute", "after", "gradient_norm", "learning_rate"}
    assert set(history[2]) == set(history[1]) | {"validation_error"}
    assert history[1]["after"] == 1  # of steps 0, 1, 2
    assert history[2]["after"] == 3


def test_the_average_is_the_result_and_what_validation_sees(run, toy, config):
    averaged, plain = toy.Toy(), toy.Toy()
    history = run(averaged, config(ema_decay=0.9), work="a")
    run(plain, config(ema_decay=0.0), work="b")
    assert not torch.equal(averaged.module[0].weight, plain.module[0].weight)
    averaged.module.eval()
    assert history[-1]["validation_error"] == averaged.validate(4)["error"]


def test_a_loss_that_is_not_finite_stops_with_step_clips_and_checkpoint(run, toy, config):
    class Poisoned(toy.Toy):
        def loss(self, batch, samples, step):
            loss, figures = super().loss(batch, samples, step)
            return (loss / 0 if step == 3 else loss), figures

    objective = Poisoned()
    with pytest.raises(NotFiniteError) as caught:
        run(objective, config(steps=8, checkpoint_every=2))
    message = str(caught.value)
    assert "step 3: loss inf" in message
    assert f"on the clips {', '.join(f'point_{i}' for i in objective.seen[3])};" in message
    assert message.split("last good checkpoint: ")[1].split(";")[0].endswith("checkpoints/step_00000002")


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(run, toy, config):
    class Infinite(toy.Toy):
        def loss(self, batch, samples, step):
            loss, figures = super().loss(batch, samples, step)
            # The square root of 0 is 0, its derivative is not.
            return loss + (self.module[0].bias * 0).sum().sqrt(), figures

    objective = Infinite()
    before = weights(objective)
    with pytest.raises(NotFiniteError, match="step 0"):
        run(objective, config())
    assert_equal(before, weights(objective))


def test_sigterm_leaves_a_checkpoint_and_the_rerun_the_same_result(run, toy, config, tmp_path):
    settings = config(checkpoint_every=100)
    whole = toy.Toy()
    run(whole, settings, work="whole")
    context = Context(tmp_path)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    context.stop.listen()
    stopped = toy.Toy(hook=lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 1 else None)
    try:
        with pytest.raises(StopRequested, match="step 2 of 4"):
            run(stopped, settings, work="stopped", context=context)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    resumed = toy.Toy()
    run(resumed, settings, work="stopped")
    assert resumed.seen == whole.seen[2:]
    assert_equal(weights(whole), weights(resumed))


def test_an_error_while_preparing_reaches_the_caller(run, toy, config):
    class Broken(toy.Toy):
        def prepare(self, samples):
            if samples[0].position >= 4:
                raise OSError("shard 7 is gone")
            return super().prepare(samples)

    with pytest.raises(OSError, match="shard 7"):
        run(Broken(), config())


def test_a_checkpoint_of_another_run_is_refused(run, toy, config, tmp_path):
    run(toy.Toy(), config())
    folder = next((tmp_path / "work").iterdir())
    other = config(batch=5)
    with pytest.raises(Interrupted):
        run(toy.Toy(hook=interrupt_at(1)), other)
    target = next(f for f in (tmp_path / "work").iterdir() if f != folder)
    for path in (target / "checkpoints").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    (folder / "checkpoints" / "step_00000004").rename(target / "checkpoints" / "step_00000004")
    with pytest.raises(CheckpointError, match="another run"):
        run(toy.Toy(), other)


def test_fewer_samples_than_workers_are_refused(run, toy, config):
    from moso.training.world import Solo

    world = Solo()
    world.size = 5
    with pytest.raises(ConfigError, match="batch"):
        run(toy.Toy(), config(), world=world)


def test_every_checkpoint_is_handed_on_once_it_is_whole(run, toy, config, tmp_path):
    seen = []

    def sink(folder, step, figures):
        found = checkpoint.load(folder)  # checks every checksum
        seen.append((step, folder.name, found.step, found.tensors["weights"]["steps_seen"].item()))

    settings = config(steps=5, checkpoint_every=2, keep_checkpoints=1)
    run(toy.Toy(), settings, context=Context(tmp_path, on_checkpoint=sink))
    # every second step, and the last
    assert seen == [(step, f"step_{step:08d}", step, step) for step in (2, 4, 5)]


def test_with_a_checkpoint_go_the_figures_as_they_were_at_its_step(run, toy, config, tmp_path):
    told = {}
    context = Context(tmp_path, on_checkpoint=lambda folder, step, figures: told.update({step: figures}))
    history = run(toy.Toy(), config(checkpoint_every=2, validate_every=2, log_every=2), context=context)
    assert [row["step"] for row in history] == [2, 4]
    assert told == {row["step"]: {name: value for name, value in row.items() if name != "step"} for row in history}


def test_the_checkpoint_of_a_stopped_training_is_handed_on_too(run, toy, config, tmp_path):
    seen = []
    context = Context(tmp_path, on_checkpoint=lambda folder, step, figures: seen.append(step))
    objective = toy.Toy(hook=lambda step: context.stop.set() if step == 1 else None)
    with pytest.raises(StopRequested):
        run(objective, config(checkpoint_every=100), context=context)
    assert seen == [2]


def test_a_sink_that_fails_ends_a_training_which_goes_on_from_that_checkpoint(run, toy, config, tmp_path):
    def sink(folder, step, figures):
        if step == 2:
            raise OSError("the bucket is gone")

    whole, resumed = toy.Toy(), toy.Toy()
    run(whole, config(), work="whole")
    with pytest.raises(OSError, match="bucket"):
        run(toy.Toy(), config(), work="halves", context=Context(tmp_path, on_checkpoint=sink))
    run(resumed, config(), work="halves")
    assert resumed.seen == whole.seen[2:]
    assert_equal(weights(whole), weights(resumed))


class Recorder:
    """A tracker that remembers."""

    def __init__(self):
        self.runs, self.points, self.ended = [], [], []

    def start(self, name, *, run_id=None, params, tags):
        self.runs.append((name, run_id, params, tags))
        return run_id or f"run-{len(self.runs)}"

    def metrics(self, values, step):
        self.points.append((step, dict(values)))

    def summary(self, values):
        self.final = dict(values)

    def artifact(self, path): ...

    def finish(self, status="FINISHED"):
        self.ended.append(status)


def test_a_resumed_training_goes_on_in_the_same_tracked_run(run, toy, config, tmp_path):
    tracker = Recorder()
    with pytest.raises(Interrupted):
        run(toy.Toy(hook=interrupt_at(2)), config(), context=Context(tmp_path, tracker=tracker))
    history = run(toy.Toy(), config(), context=Context(tmp_path, tracker=tracker))
    assert [run_id for _, run_id, *_ in tracker.runs] == [None, "run-1"]
    assert tracker.ended == ["FAILED", "FINISHED"]
    name, _, params, tags = tracker.runs[0]
    assert (name, params["optimizer.name"], params["seed"], tags["inputs.data"]) == ("toy", "muon", 0, "d")
    assert all(isinstance(value, str) for value in tags.values())
    assert tracker.final == {name: value for name, value in history[-1].items() if name != "step"}
    assert any("samples_per_s" in values and "data_wait_s" in values for _, values in tracker.points)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from toy import Toy
from moso.step import Context
from moso.training.config import TrainingConfig
from moso.training.loop import train
from moso.training.work import WorkFolder
from safetensors.torch import save_file

folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])
config = TrainingConfig(steps=8, batch=4, checkpoint_every=3, log_every=2)
objective = Toy(hook=lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == kill_at else None, rival_from=3)
work = WorkFolder(folder, "toy")
train(objective, config, seed=5, work=work, context=Context(folder), title="toy", identity={{"step": "toy"}})
rival = {{f"rival.{{name}}": value for name, value in objective.rivals[0].module.state_dict().items()}}
save_file({{**objective.module.state_dict(), **rival}}, folder / "result.safetensors")
print(len(objective.seen))
"""


def spawn(folder, kill_at):
    command = [sys.executable, "-c", SCRIPT.format(here=str(HERE)), str(folder), str(kill_at)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_killed_with_sigkill_goes_on_to_the_same_weights(tmp_path):
    one, other = tmp_path / "killed", tmp_path / "whole"
    killed, whole = spawn(one, 7), spawn(other, -1)
    assert (killed.communicate()[0], killed.returncode) == ("", -signal.SIGKILL)
    assert not (one / "result.safetensors").exists()
    resumed = spawn(one, -1)
    # The checkpoint of step 3 was waited for at step 6, whose own may have been under way at the kill.
    for process, steps in ((whole, {"8"}), (resumed, {"5", "2"})):
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output.strip() in steps
    assert (one / "result.safetensors").read_bytes() == (other / "result.safetensors").read_bytes()
