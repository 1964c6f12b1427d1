"""The HTTP service with a real, tiny model: what goes in, what comes out, and what is refused with which words."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from moso.frames.resize import resize_frames
from moso.serving.app import create_app
from moso.serving.champion import Champion
from moso.serving.limits import Limits
from moso.serving.service import Service
from moso.tasks.model import Model
from moso.tasks.request import TASKS, answer, flat_tokens
from moso.video import read, write
from tests.small_model import SIZE, K, T, smooth_clips, write_model

NPY = {"Content-Type": "application/x-npy"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("served") / "model", 1, unconditional=True)


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return Model.load(folder, "cpu")


def client_of(folder: Path, **limits: float) -> TestClient:
    champion = Champion(str(folder), "cpu")
    champion.load()
    return TestClient(create_app(Service(champion, Limits(**limits))), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(folder):
    with client_of(folder) as running:
        yield running


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return smooth_clips(2)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def array_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def detail(response, status: int) -> str:
    assert response.status_code == status, response.text
    found = response.json()
    assert list(found) == ["detail"]
    assert "\n" not in found["detail"]
    assert "/tmp" not in found["detail"]
    return found["detail"]


def png(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def post(client, task: str, array: np.ndarray, query: str = ""):
    return client.post(f"/v1/{task}{query}", content=npy(array), headers=NPY)


ASKED = {
    "predict": (
        "?seed=3&steps=2&samples=2&temperature=0.5&top_k=4",
        {"seed": 3, "steps": 2, "samples": 2, "temperature": 0.5, "top_k": 4},
    ),
    "rollout": ("?length=5&carry=frames&fade=false", {"length": 5, "carry": "frames", "fade": False}),
    "interpolate": ("?given=0,3&tokens_from=whole_clip", {"given": [0, 3], "tokens_from": "whole_clip"}),
    "recombine": ("?scene=0&object=1&motion=1", {"scene": [0], "object": [1], "motion": [1]}),
    "decompose": ("?parts=scene&parts=motion", {"parts": ["scene", "motion"]}),
    "preprocess": ("?low=0.1&high=0.2", {"low": 0.1, "high": 0.2}),
    "reconstruct": ("", {}),
    "encode": ("", {}),
}  # fmt: skip


@pytest.mark.parametrize("task", ASKED)
def test_a_task_gives_over_http_what_the_facade_gives(client, model, clips, task):
    query, parameters = ASKED[task]
    frames = clips[:, :K] if task in ("predict", "rollout") else clips
    expected = answer(model, frames, {"task": task, **parameters})
    response = post(client, task, frames, query)
    if isinstance(expected, dict):
        assert response.headers["x-moso-parts"] == ",".join(expected)
        expected = np.stack(list(expected.values()))
    np.testing.assert_array_equal(array_of(response), expected)
    assert response.headers["x-moso-shape"] == ",".join(map(str, expected.shape))
    assert response.headers["x-moso-model"] == model.digest


def test_videos_of_nothing(client, model):
    response = client.post("/v1/generate?count=3&seed=7")
    np.testing.assert_array_equal(array_of(response), next(model.generate(3, seed=7)))


def test_every_task_has_its_address(client):
    assert set(TASKS) == {*ASKED, "generate", "decode"}
    paths = client.get("/openapi.json").json()["paths"]
    assert {path.removeprefix("/v1/") for path in paths if "post" in paths[path]} == set(TASKS)


def test_tokens_come_back_as_the_same_frames_in_every_form(client, model, clips):
    tokens = model.encode(clips)
    expected, flat = model.decode(tokens), flat_tokens(tokens)
    np.testing.assert_array_equal(array_of(post(client, "decode", flat)), expected)
    file = post(client, "encode", clips, "?format=safetensors")
    back = client.post("/v1/decode", content=file.content, headers={"Content-Type": file.headers["content-type"]})
    np.testing.assert_array_equal(array_of(back), expected)
    asked = {"parameters": {"tokens": flat.tolist(), "frames": [1, 2]}}
    told = client.post("/v1/decode", json=asked).json()
    np.testing.assert_array_equal(np.array(told["frames"]), expected[:, 1:3])


def test_json_in_json_out(client, model, clips):
    asked = {"frames": clips[:, :K].tolist(), "parameters": {"seed": 3, "steps": 1, "top_k": None}}
    told = client.post("/v1/predict", json=asked).json()
    expected = answer(model, clips[:, :K], {"seed": 3, "steps": 1})
    assert told["shape"] == list(expected.shape)
    np.testing.assert_array_equal(np.array(told["frames"]), expected)
    encoded = client.post("/v1/encode", json={"frames": clips.tolist()}).json()
    np.testing.assert_array_equal(np.array(encoded["tokens"]), flat_tokens(model.encode(clips)))
    parts = client.post("/v1/decompose", json={"frames": clips.tolist()}).json()["parts"]
    np.testing.assert_array_equal(np.array(parts["object"]), model.decompose(clips)["object"])


def test_images_in_are_the_frames_of_clips_and_every_frame_comes_out_as_one(client, model, clips):
    files = [("clip", (f"{t}.png", png(clip[t]), "image/png")) for clip in clips for t in range(T)]
    response = client.post("/v1/reconstruct", files=files, data={"clips": "2", "format": "frames"})
    assert response.status_code == 200, response.text
    expected = model.reconstruct(clips)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert len(archive.namelist()) == 2 * T
        for n in range(2):
            for t in range(T):
                with archive.open(f"{n:04d}/{t:06d}.png") as file:
                    np.testing.assert_array_equal(np.asarray(Image.open(file)), expected[n, t])


def test_a_video_in_and_a_video_out(client, model, clips, tmp_path):
    source = tmp_path / "push.mp4"
    write(source, smooth_clips(1, frames=6), 10.0)
    given = read(source, 1, K).frames
    with source.open("rb") as file:
        response = client.post("/v1/predict?start=1&format=mp4", files={"clip": ("push.mp4", file, "video/mp4")})
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-disposition"] == 'attachment; filename="predict.mp4"'
    (tmp_path / "out.mp4").write_bytes(response.content)
    write(tmp_path / "expected.mp4", model.predict(given), 10.0)  # at the source's frames a second
    assert response.content == (tmp_path / "expected.mp4").read_bytes()
    raw = client.post("/v1/predict?start=1", content=source.read_bytes(), headers={"Content-Type": "video/mp4"})
    np.testing.assert_array_equal(array_of(raw), model.predict(given))


def test_accept_chooses_the_form_and_each_gives_a_file_a_clip(client, clips):
    strip = client.post("/v1/predict", content=npy(clips[:, :K]), headers={**NPY, "Accept": "image/png"})
    assert strip.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(strip.content)).format == "PNG"
    response = post(client, "predict", clips[:, :K], "?format=gif&each=true&samples=2")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == ["0000.gif", "0001.gif"]


def test_fields_of_the_form_name_what_is_recombined(client, model, clips, tmp_path):
    for name, clip in zip("ab", clips, strict=True):
        np.save(tmp_path / f"{name}.npy", clip)
    one, two = (tmp_path / "a.npy").read_bytes(), (tmp_path / "b.npy").read_bytes()
    files = {"scene": ("a.npy", one), "object": ("b.npy", two), "motion": ("b.npy", two)}
    expected = model.recombine(scene=clips[:1], object=clips[1:], motion=clips[1:])
    np.testing.assert_array_equal(array_of(client.post("/v1/recombine", files=files)), expected)


def test_another_size_is_resized_when_asked(client, model):
    large = np.repeat(np.repeat(smooth_clips(1)[:, :K], 2, axis=2), 2, axis=3)
    wide = np.pad(large, [(0, 0), (0, 0), (0, 0), (6, 6), (0, 0)])  # the margins are cropped off
    response = post(client, "predict", wide, "?resize=true")
    expected = model.predict(resize_frames(large[0], SIZE, SIZE)[None])
    np.testing.assert_array_equal(array_of(response), expected)


FRAMES = np.zeros((1, K, SIZE, SIZE, 3), np.uint8)
NEEDED = rf"expected uint8 \(N, {K}, {SIZE}, {SIZE}, 3\)"
WRONG = {
    "three frames": (np.zeros((1, 3, SIZE, SIZE, 3), np.uint8), "this model takes 2 frames here, not 3"),
    "floats": (np.zeros((1, K, SIZE, SIZE, 3), np.float32), "body.npy: holds float32"),
    "int64": (np.zeros((1, K, SIZE, SIZE, 3), np.int64), "body.npy: holds int64"),
    "another size": (np.zeros((1, K, 8, 8, 3), np.uint8), "body.npy: frames of 8 x 8 pixels"),
    "channels first": (np.zeros((1, K, 3, SIZE, SIZE), np.uint8), "body.npy: holds uint8"),
    "no clip": (np.zeros((0, K, SIZE, SIZE, 3), np.uint8), "which holds no clip"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused_with_the_reason(client, case):
    array, words = WRONG[case]
    assert words in detail(post(client, "predict", array), 422)


UNKNOWN = {
    "seed=-1": "seed: expected numbers from 0, got -1",
    "seed=three": "seed: expected a whole number, got 'three'",
    "seed=1&seed=2": "seed: given twice",
    "steps=0": "steps",
    "temperature=-1": "temperature: expected a number from 0, got -1.0",
    "temperature=nan": "temperature: expected a number, got 'nan'",
    "top_k=-2": "top_k",
    "schedule=sine": "schedule: expected one of cosine, linear, square, got 'sine'",
    "samples=0": "samples: expected a whole number from 1, got 0",
    "fps=0&format=mp4": "fps",
    "length=4": "length: task 'predict' does not read it; it reads seed, steps",
    "sead=1": "sead: task 'predict' knows no such parameter",
    "format=bmp": "format: expected one of json, npy, png",
    "resize=perhaps": "resize: expected true or false",
    "start=-1": "start: expected a whole number from 0",
    f"seed={1 << 70}": "seed: expected a whole number",
    f"top_k={'9' * 5000}": "top_k: expected a whole number",
}


@pytest.mark.parametrize("query", UNKNOWN)
def test_wrong_parameters_are_refused_with_the_reason(client, query):
    response = post(client, "predict", FRAMES, f"?{query}")
    assert response.status_code in (400, 422)
    assert UNKNOWN[query] in detail(response, response.status_code)


JSONS = {
    "{": (400, "the body is no JSON"),
    "[1]": (400, "the body is no JSON object"),
    "[" * 100_000: (400, "the body is no JSON"),
    '{"frame": []}': (400, "frame: not known in a JSON body"),
    '{"frames": [[1], [1, 2]]}': (422, "lists of different lengths"),
    '{"frames": [[[[[0.5]]]]]}': (422, "got float64"),
    '{"frames": [[[[[256]]]]]}': (422, "got 256 to 256"),
    '{"frames": "no"}': (422, "no numbers"),
    '{"frames": [[[[[1, 2, 3]]]]], "parameters": {"seed": true}}': (422, "seed: expected a whole number, got True"),
    '{"parameters": {"seed": 1}}': (422, "frames: none came"),
}


@pytest.mark.parametrize("text", JSONS, ids=lambda text: text[:40])
def test_wrong_json_is_refused_with_the_reason(client, text):
    status, words = JSONS[text]
    response = client.post("/v1/predict", content=text, headers={"Content-Type": "application/json"})
    assert words in detail(response, status)


def test_files_that_are_not_what_they_say_are_refused(client, tmp_path):
    def sent(name: str, content: bytes, task: str = "predict"):
        return client.post(f"/v1/{task}", files={"clip": (name, content, "application/octet-stream")})

    video = tmp_path / "v.mp4"
    write(video, smooth_clips(1, frames=6), 10.0)
    assert "push.mp4: cannot be read as a video" in detail(sent("push.mp4", b"no video at all"), 422)
    assert "push.mp4" in detail(sent("push.mp4", video.read_bytes()[:-400]), 422)
    assert "a.npy: cannot be read as an array (it is cut off)" in detail(sent("a.npy", npy(FRAMES)[:-9]), 422)
    assert "cannot be read as an image" in detail(sent("a.png", png(FRAMES[0, 0])[:20]), 422)
    assert "has 1 frames, 2 are needed" in detail(sent("a.png", png(FRAMES[0, 0])), 422)
    assert "a.txt of type application/octet-stream: not read here" in detail(sent("a.txt", b"words"), 415)
    assert "etc_passwd" not in detail(sent("../../etc/passwd.npy", b"x"), 422)
    assert "cannot be read as an array" in detail(sent("t.npy", b"x", "decode"), 422)
    assert "is no token file" in detail(sent("t.safetensors", b"x", "decode"), 422)


def test_a_pickled_array_is_never_loaded(client):
    class Planted:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Planted()], dtype=object), allow_pickle=True)
    for task in ("predict", "decode"):
        response = client.post(f"/v1/{task}", content=buffer.getvalue(), headers=NPY)
        assert "cannot be read as an array" in detail(response, 422)


def test_broken_forms_and_unknown_kinds_are_refused(client):
    no_boundary = client.post("/v1/predict", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert "the body is no form" in detail(no_boundary, 400)
    other = client.post("/v1/predict", content=b"x", headers={"Content-Type": "text/csv"})
    assert "not read here" in detail(other, 415)
    assert "frames: none came" in detail(client.post("/v1/predict"), 422)
    wanted = client.post("/v1/predict", content=npy(FRAMES), headers={**NPY, "Accept": "text/html"})
    assert "can answer application/json" in detail(wanted, 406)
    assert client.get("/v1/predict").status_code == 405
    assert client.post("/v1/paint").status_code == 404


def test_more_than_a_request_may_bring_or_ask_is_refused(folder, clips):
    with client_of(folder, body_bytes=20_000, clips=2, frames=8, steps=10, files=3, frame_pixels=300) as small:
        assert "more than 20000 bytes" in detail(post(small, "predict", FRAMES.repeat(20, 0)), 413)
        chunked = small.post("/v1/predict", content=iter([b"x" * 15_000] * 2), headers=NPY)  # no length announced
        assert "more than 20000 bytes" in detail(chunked, 413)
        assert "clips: 3, this service takes at most 2" in detail(post(small, "predict", FRAMES.repeat(3, 0)), 413)
        assert "takes at most 8" in detail(post(small, "rollout", FRAMES, "?length=9"), 413)
        assert "takes at most 8" in detail(post(small, "predict", FRAMES, "?samples=5"), 413)
        assert "takes at most 2" in detail(small.post("/v1/generate?count=1000000000"), 413)
        assert "steps: 11, this service takes at most 10" in detail(post(small, "predict", FRAMES, "?steps=11"), 413)
        files = [("clip", (f"{n}.png", png(FRAMES[0, 0]), "image/png")) for n in range(4)]
        assert "Too many files" in detail(small.post("/v1/predict", files=files), 400)
        large = [("clip", (f"{n}.png", png(np.zeros((20, 20, 3), np.uint8)), "image/png")) for n in range(2)]
        assert "pixels of a frame: 400, this service takes at most 300" in detail(
            small.post("/v1/predict", files=large), 413
        )
    with client_of(folder, decoded_bytes=2 * SIZE * SIZE * 3) as small:
        response = small.post("/v1/reconstruct", files=[("c", (f"{t}.png", png(clips[0, t]))) for t in range(T)])
        assert "bytes of all frames of the request, decoded" in detail(response, 413)


def test_a_failure_of_the_service_is_not_told_to_the_caller(folder, monkeypatch):
    with client_of(folder) as running:
        monkeypatch.setattr("moso.serving.service.answer", lambda *_, **__: 1 / 0)
        assert detail(post(running, "predict", FRAMES), 500) == "the service failed at this; its log says why"


def test_health_readiness_and_the_model(folder, model):
    service = Service(Champion(str(folder), "cpu"))
    with TestClient(create_app(service)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert "being loaded" in detail(post(client, "predict", FRAMES), 503)
        service.champion.load()
        assert client.get("/readyz").json() == {"status": "ready"}
        told = client.get("/v1/model").json()
    assert (told["digest"], told["given_frames"], told["clip_frames"]) == (model.digest, K, T)
    assert told["sampling"]["steps"] == model.sampling.steps


def test_prometheus_counts_requests_by_task_and_status(folder):
    with client_of(folder) as client:
        post(client, "predict", FRAMES)
        post(client, "predict", FRAMES.repeat(2, 0))
        post(client, "predict", FRAMES[:, :1])
        text = client.get("/metrics").text
    assert 'moso_requests_total{status="200",task="predict"} 2.0' in text
    assert 'moso_requests_total{status="422",task="predict"} 1.0' in text
    assert 'moso_clips_total{task="predict"} 3.0' in text
    assert 'moso_request_seconds_count{task="predict"} 3.0' in text
    assert "moso_requests_inside 0.0" in text


def test_answers_carry_safe_headers_and_other_sites_pages_are_kept_out(client):
    response = client.get("/healthz")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    foreign = client.post("/v1/generate", headers={"Origin": "https://elsewhere.example"})
    assert "Origin" in detail(foreign, 403)
    assert client.post("/v1/generate", headers={"Origin": "http://testserver"}).status_code == 200


def test_openapi_names_every_parameter_and_kind_of_body(client):
    described = client.get("/openapi.json").json()["paths"]["/v1/recombine"]["post"]
    assert {p["name"] for p in described["parameters"]} >= {"scene", "object", "motion", "format", "resize"}
    assert {"application/json", "multipart/form-data", "video/mp4"} <= set(described["requestBody"]["content"])
    assert {"200", "413", "422", "503", "504"} <= set(described["responses"])
    json.dumps(described, allow_nan=False)
