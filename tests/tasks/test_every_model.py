"""Every task on every kind of model: ablations of Stage I and II, other numbers of given frames."""

import numpy as np
import pytest

from moso.tokens.clip_tokens import ClipTokens
from tests.small_model import CODEBOOK, T

KINDS = {
    "two_clips_share_more_than_one_predicts": {"given": 3},  # K = 3 of T = 4: two of them in whole pools
    "no_given_motion": {"given": 1},
    "motion_and_content": {"vqvae": {"decomposition": "motion_content"}},
    "no_decomposition": {"vqvae": {"decomposition": "none"}},
    "one_network": {"transformer": {"wiring": "single"}},
    "one_network_no_decomposition": {"vqvae": {"decomposition": "none"}, "transformer": {"wiring": "single"}},
    "sum_and_separate_codebooks": {"vqvae": {"merge": "sum", "codebooks": "separate", "codebook_size": 30}},
}


@pytest.fixture(params=KINDS)
def kind(made, request):
    return made(request.param, **{"unconditional": True, **KINDS[request.param]})


def test_all_tasks_work_and_no_clip_depends_on_its_company(kind, clips):
    given = clips[:, : kind.given_frames]

    def everything(rows):
        videos = {
            "predict": kind.predict(given[rows], seed=3),
            "samples": kind.predict(given[rows], seed=3, samples=2)[:, 0],
            "tokens": kind.rollout(given[rows], 5, seed=3),
            "frames": kind.rollout(given[rows], 5, carry="frames", seed=3),
            "interpolate": kind.interpolate(clips[rows], seed=3),
            "recombine": kind.recombine(**dict.fromkeys(kind.components, clips[rows])),
            "reconstruct": kind.reconstruct(clips[rows]),
            "decode": kind.decode(kind.encode(clips[rows])),
        }
        return videos | {f"alone.{part}": video for part, video in kind.decompose(clips[rows]).items()}

    whole, one = everything(slice(None)), everything(slice(3, 4))
    frames = {"predict": T - kind.given_frames, "samples": T - kind.given_frames, "tokens": 5, "frames": 5}
    for name, video in whole.items():
        assert video.shape == (5, frames.get(name, T), 16, 16, 3), name
        np.testing.assert_array_equal(one[name], video[3:4], err_msg=name)
    np.testing.assert_array_equal(whole["tokens"][:, : T - kind.given_frames], whole["predict"])
    np.testing.assert_array_equal(whole["samples"], whole["predict"])
    assert next(kind.generate(2)).shape == (2, T, 16, 16, 3)


def test_content_is_drawn_from_scene_tokens_in_scene_and_motion_models(made, clips):
    model = made("motion_and_content", unconditional=True, **KINDS["motion_and_content"])
    assert model.components == ("scene", "motion")
    tokens = model.encode(clips)
    assert tokens.object.shape == (5, 0, 0)
    other = ClipTokens((tokens.scene + 1) % CODEBOOK, tokens.object, tokens.motion)
    drawn, changed = model.decode(tokens), model.decode(other)
    assert (drawn != changed).any(axis=(2, 3, 4)).all()  # every frame of every clip: the content is that of them all
    alone = model.decode(ClipTokens(tokens.scene, tokens.object, (tokens.motion + 1) % CODEBOOK), only=["scene"])
    np.testing.assert_array_equal(alone, model.decompose(clips)["scene"])
    assert (model.decode(other, only=["scene"]) != alone).any(axis=(1, 2, 3, 4)).all()
    np.testing.assert_array_equal(model.decode(other, only=["motion"]), model.decompose(clips)["motion"])
