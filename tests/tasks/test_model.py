import json
import shutil
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from moso.errors import FormatError, MismatchError, MosoError
from moso.frames.clips import to_float, to_uint8
from moso.tasks import Model, loading
from moso.tasks.checks import InputError
from moso.transformer.config import SamplingConfig

K, T, SIZE = 2, 4, 16


def test_model_says_what_it_takes(model):
    assert (model.given_frames, model.clip_frames, model.predicted_frames) == (2, 4, 2)
    assert (model.height, model.width) == (16, 16)
    assert model.sampling == SamplingConfig(steps=3, confidence_noise=1.0)
    assert not model.vqvae.training
    assert not model.transformer.training


def test_prediction_has_the_frames_that_are_missing(model, clips):
    video = model.predict(clips[:, :K], seed=1)
    assert video.dtype == np.uint8
    assert video.shape == (5, T - K, SIZE, SIZE, 3)


def test_prediction_of_a_clip_depends_on_its_seed_alone_not_on_the_batch(model, clips):
    whole = model.predict(clips[:, :K], seed=3)
    for i in range(len(clips)):
        np.testing.assert_array_equal(model.predict(clips[i : i + 1, :K], seed=3)[0], whole[i])
    model.batch = 2
    np.testing.assert_array_equal(model.predict(clips[:, :K], seed=3), whole)


def test_seed_of_each_clip_goes_with_the_clip(model, clips):
    whole = model.predict(clips[:, :K], seed=[0, 1, 2, 3, 4])
    backwards = model.predict(clips[::-1, :K], seed=[4, 3, 2, 1, 0])
    np.testing.assert_array_equal(backwards[::-1], whole)


def test_other_seed_other_video_and_no_global_state(model, clips):
    torch.manual_seed(0)
    first = model.predict(clips[:, :K], seed=0)
    torch.manual_seed(1)
    np.testing.assert_array_equal(model.predict(clips[:, :K], seed=0), first)
    assert (model.predict(clips[:, :K], seed=1) != first).any()


def test_prediction_does_not_see_frames_after_k(model, clips):
    changed = clips.copy()
    changed[:, K:] = 255 - changed[:, K:]
    np.testing.assert_array_equal(model.predict(changed[:, :K]), model.predict(clips[:, :K]))


def test_sampling_settings_of_a_call_replace_the_models_own(model, clips):
    certain = SamplingConfig(steps=1, motion_temperature=0.0, confidence_noise=0.0, scene_object="argmax")
    likeliest = [model.predict(clips[:, :K], seed=s, sampling=certain) for s in (0, 1)]
    np.testing.assert_array_equal(*likeliest)
    assert (model.predict(clips[:, :K], seed=0) != likeliest[0]).any()


def test_reconstruct_is_decode_of_encode_and_the_networks_own(model, clips):
    tokens = model.encode(clips)
    direct = model.vqvae.decode(model.vqvae.encode(to_float(torch.from_numpy(clips))))
    np.testing.assert_array_equal(model.reconstruct(clips), to_uint8(direct).numpy())
    np.testing.assert_array_equal(model.decode(tokens), to_uint8(direct).numpy())


def test_decode_of_some_frames_is_part_of_decode_of_all(model, clips):
    tokens = model.encode(clips)
    np.testing.assert_array_equal(model.decode(tokens, [3, 1]), model.decode(tokens)[:, [3, 1]])


def test_small_batches_change_no_tokens_and_no_frames(model, clips):
    tokens, frames = model.encode(clips), model.reconstruct(clips)
    model.batch = 2
    again = model.encode(clips)
    assert all(torch.equal(getattr(again, c), getattr(tokens, c)) for c in ("scene", "object", "motion"))
    np.testing.assert_array_equal(model.reconstruct(clips), frames)


def test_each_component_alone_depends_on_its_own_tokens_alone(model, clips):
    tokens, alone = model.encode(clips), model.decompose(clips)
    assert list(alone) == ["scene", "object", "motion", "object_motion"]
    other = model.encode(255 - clips)
    mixed = type(tokens)(scene=tokens.scene, object=other.object, motion=other.motion)
    np.testing.assert_array_equal(model.decode(mixed, only={"scene"}), alone["scene"])
    assert (model.decode(mixed, only={"object"}) != alone["object"]).any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.astype(np.float32), "expected uint8 (N, 2, 16, 16, 3), got float32 (5, 2, 16, 16, 3)"),
        (lambda f: f[0], "4 axes instead of 5; a single clip needs a leading axis"),
        (lambda f: f[:0], "holds no clip"),
        (lambda f: f[:, :1], "this model takes 2 frames here, not 1"),
        (lambda f: f[:, :, :8], "this model's frames are 16 x 16 pixels, resize them first"),
        (lambda f: f.transpose(0, 1, 4, 2, 3), "16 channels instead of 3; channels come last"),
    ],
)
def test_frames_that_do_not_fit_are_refused_with_expected_and_given(model, clips, change, told):
    with pytest.raises(InputError) as error:
        model.predict(change(clips[:, :K]))
    assert told in str(error.value)


def test_whole_clips_are_asked_for_where_whole_clips_are_needed(model, clips):
    for task in (model.encode, model.reconstruct, model.decompose):
        with pytest.raises(InputError, match="takes 4 frames here, not 2"):
            task(clips[:, :K])


def test_too_many_or_too_few_seeds_are_refused(model, clips):
    with pytest.raises(InputError, match="expected 5 seeds, one a clip, got 2"):
        model.predict(clips[:, :K], seed=[0, 1])


def test_tokens_that_do_not_fit_are_refused(model, clips):
    tokens = model.encode(clips)
    too_high = type(tokens)(scene=tokens.scene + 32, object=tokens.object, motion=tokens.motion)
    with pytest.raises(InputError, match=r"tokens.scene: expected values from 0 to 31"):
        model.decode(too_high)
    short = type(tokens)(scene=tokens.scene, object=tokens.object, motion=tokens.motion[:, :3])
    with pytest.raises(InputError, match=r"tokens.motion: expected shape \(5, 4, 2, 2\), got int64 \(5, 3, 2, 2\)"):
        model.decode(short)
    with pytest.raises(InputError, match="numbers from 0 to 3"):
        model.decode(tokens, [4])


@pytest.mark.parametrize(
    ("only", "told"),
    [
        ("scene", "only: expected a list of scene, object, motion, got 'scene'; write ['scene']"),
        (["scene", "sky"], "only: expected one of scene, object, motion, got 'sky'"),
        ([], "only: expected at least one of scene, object, motion"),
    ],
)
def test_components_that_there_are_not_are_refused(model, clips, only, told):
    with pytest.raises(InputError) as error:
        model.decode(model.encode(clips), only=only)
    assert str(error.value).startswith(told)


def test_a_component_that_the_model_lacks_is_not_drawn_as_nothing(made, clips):
    model = made("content", vqvae={"decomposition": "motion_content"})
    with pytest.raises(InputError, match="only: expected one of scene, motion, got 'object'"):
        model.decode(model.encode(clips), only=["object"])


def test_parts_of_different_codebooks_refuse_each_other(model_folder, other_folder):
    with pytest.raises(MismatchError, match="take the VQVAE it was trained with"):
        Model.from_parts(model_folder / "vqvae", other_folder / "transformer", "cpu")


def test_digest_names_both_parts(model_folder, other_folder, tmp_path):
    digest = Model.load(model_folder, "cpu").digest
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    assert Model.load(copy, "cpu").digest == digest
    assert Model.load(other_folder, "cpu").digest != digest


def test_folder_that_is_no_model_is_refused_by_name(tmp_path, model_folder):
    with pytest.raises(MosoError, match="no folder vqvae/ in it"):
        Model.load(tmp_path)
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    record = json.loads((copy / "vqvae/provenance.json").read_text())
    (copy / "vqvae/provenance.json").write_text(json.dumps({**record, "format_version": 2}))
    with pytest.raises(FormatError, match=r"version 2 of moso.vqvae, this code reads version 1"):
        Model.load(copy, "cpu")


def test_missing_sampling_settings_are_not_guessed(tmp_path, model_folder):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    (copy / "transformer/sampling.json").unlink()
    with pytest.raises(FormatError, match=r"sampling.json is missing"):
        Model.load(copy, "cpu")


def resolve(address):
    """What a resolver of an adapter does: here the address carries the folder."""
    return address.removeprefix("folder:")


def test_addresses_are_resolved_by_the_entry_point_of_their_scheme(monkeypatch, model_folder):
    # A module of this test is not importable by name: the entry point gets the function itself.
    class Point(EntryPoint):
        def load(self):
            return resolve

    found = Point(name="folder", value="here:resolve", group=loading.RESOLVERS)
    monkeypatch.setattr(loading, "entry_points", lambda group: [found] if group == loading.RESOLVERS else [])
    assert Model.load(f"folder:{model_folder}", "cpu").digest == Model.load(model_folder, "cpu").digest
    with pytest.raises(MosoError, match=r"knows the scheme 'models' \(known: folder\)"):
        Model.load("models:/moso@champion")
