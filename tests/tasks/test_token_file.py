"""Token files: out and in again, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from moso.errors import FormatError, MismatchError
from moso.tasks import Model
from moso.tasks.checks import InputError
from moso.tasks.token_file import read_tokens, write_tokens


def write(path, model, tokens):
    write_tokens(path, tokens, model.vqvae.grids, model.codebook_digest, model.codebook_size)
    return path


def test_tokens_come_back_as_they_were_and_decode_to_the_same_video(model, clips, tmp_path):
    tokens = model.encode(clips)
    read = read_tokens(write(tmp_path / "a.safetensors", model, tokens))
    assert (read.grids, read.codebook_size, read.codebook_digest) == (model.vqvae.grids, 32, model.codebook_digest)
    for component in ("scene", "object", "motion"):
        assert torch.equal(getattr(read.tokens, component), getattr(tokens, component))
    np.testing.assert_array_equal(model.decode(read), model.reconstruct(clips))
    np.testing.assert_array_equal(model.decode(read, [2]), model.reconstruct(clips)[:, [2]])


def test_any_reader_of_safetensors_finds_the_grids(model, clips, tmp_path):
    path = write(tmp_path / "a.safetensors", model, model.encode(clips))
    with safe_open(path, framework="np") as file:
        assert file.get_tensor("motion").shape == (5, 4, 2, 2)
        assert file.get_tensor("scene").dtype == np.int64
        assert json.loads(file.metadata()["grids"])["scene"] == [8, 8]


def test_other_codebooks_tokens_are_refused(model, other_folder, clips, tmp_path):
    path = write(tmp_path / "a.safetensors", model, model.encode(clips))
    with pytest.raises(MismatchError, match="decode them with the model that encoded them"):
        Model.load(other_folder, "cpu").decode(read_tokens(path))


def test_a_codebook_size_that_is_not_the_models_is_refused(model, clips, tmp_path):
    path = tmp_path / "a.safetensors"
    write_tokens(path, model.encode(clips), model.vqvae.grids, model.codebook_digest, 64)
    with pytest.raises(MismatchError, match=r"codebook_size = 64, .* has 32 entries"):
        model.decode(read_tokens(path))


def test_frames_per_second_come_back_and_need_not_be_there(model, clips, tmp_path):
    tokens, path = model.encode(clips), tmp_path / "a.safetensors"
    assert read_tokens(write(path, model, tokens)).fps is None
    write_tokens(path, tokens, model.vqvae.grids, model.codebook_digest, model.codebook_size, 30000 / 1001)
    assert read_tokens(path).fps == 30000 / 1001


def test_absent_components_have_no_tensor(made, clips, tmp_path):
    model = made("content", vqvae={"decomposition": "motion_content"})
    path = write(tmp_path / "a.safetensors", model, model.encode(clips))
    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["motion", "scene"]
    np.testing.assert_array_equal(model.decode(read_tokens(path)), model.reconstruct(clips))


def test_tokens_that_do_not_fit_are_not_written(model, clips, tmp_path):
    tokens = model.encode(clips)
    with pytest.raises(InputError, match=r"tokens.scene: expected values from 0 to 7"):
        write_tokens(tmp_path / "a.safetensors", tokens, model.vqvae.grids, "digest", 8)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none_or_contradict_themselves_are_refused_by_name(model, clips, tmp_path):
    tokens = model.encode(clips)
    path = write(tmp_path / "a.safetensors", model, tokens)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    parts = {name: getattr(tokens, name) for name in ("scene", "object", "motion")}

    def refused(told, parts=parts, **changed):
        save_file(dict(parts), path, {**metadata, **changed})
        with pytest.raises(FormatError, match=told) as error:
            read_tokens(path)
        assert str(path) in str(error.value)

    refused("version 2 of moso.token_file, this code reads version 1", version="2")
    refused("its metadata name the format 'images'", format="images")
    refused("contradicts itself: tokens.scene: expected values from 0 to 3", codebook_size="4")
    refused("contradicts itself", grids="{}")
    refused("no tokens of object in it", {name: parts[name] for name in ("scene", "motion")})
    refused("no tokens of motion in it", {name: parts[name] for name in ("scene", "object")})
    refused("its components hold different numbers of clips", {**parts, "motion": parts["motion"][:2]})
    refused("scene holds float32 .*, expected grids of whole numbers", {**parts, "scene": parts["scene"].float()})
    refused("motion holds bool", {**parts, "motion": parts["motion"] > 0})
    refused("its metadata say codebook_size = 'many', expected a whole number above 0", codebook_size="many")
    refused("its metadata say codebook_size = '-3'", codebook_size="-3")
    refused("its metadata say fps = 'nan', expected a finite number above 0", fps="nan")
    save_file(parts, path, {name: text for name, text in metadata.items() if name != "codebook_size"})
    with pytest.raises(FormatError, match="its metadata lack codebook_size"):
        read_tokens(path)
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(FormatError, match="is no token file"):
        read_tokens(path)
    with pytest.raises(FormatError, match="is no token file"):
        read_tokens(tmp_path / "missing.safetensors")
