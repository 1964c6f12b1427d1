"""Every task says how far it is."""

import pytest

K = 2


TASKS = {
    "predict": lambda model, clips, told: model.predict(clips[:, :K], on_progress=told),
    "samples": lambda model, clips, told: model.predict(clips[:, :K], samples=3, on_progress=told),
    "rollout": lambda model, clips, told: model.rollout(clips[:, :K], 5, on_progress=told),
    "generate": lambda model, clips, told: list(model.generate(5, on_progress=told)),
    "interpolate": lambda model, clips, told: model.interpolate(clips, on_progress=told),
    "recombine": lambda model, clips, told: model.recombine(scene=clips, object=clips, motion=clips, on_progress=told),
    "decompose": lambda model, clips, told: model.decompose(clips, on_progress=told),
    "reconstruct": lambda model, clips, told: model.reconstruct(clips, on_progress=told),
    "encode": lambda model, clips, told: model.encode(clips, on_progress=told),
    "decode": lambda model, clips, told: model.decode(model.encode(clips), on_progress=told),
}


@pytest.mark.parametrize("task", TASKS)
def test_task_tells_of_each_batch_when_it_is_done(made, clips, task):
    model = made("able", unconditional=True)
    model.batch, told = 2, []
    TASKS[task](model, clips, told.append)
    assert sum(told) == 5
    assert max(told) <= 2
