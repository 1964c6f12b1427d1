"""Published lists: only the published content counts, and none of it is part of the project."""

import functools
import hashlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moso.datasets import lists
from moso.datasets.spec import DatasetSpec, ListSpec
from moso.errors import ConfigError, DataError

CONTENT = b"person17_boxing_d1 1 110\n\nperson17_boxing_d1 110 192 \r\nrobot.hdf5"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOSO_LISTS", str(tmp_path / "lists"))
    return tmp_path / "lists"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """serve(content) -> its address on a web server of this machine."""
    site = tmp_path / "site"
    site.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *values: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def put(content: bytes) -> str:
        (site / "list.txt").write_bytes(content)
        return f"http://127.0.0.1:{server.server_port}/list.txt"

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def published(url: str = "https://nowhere.invalid/list.txt", **changes: object) -> ListSpec:
    return ListSpec(**{"file": "list.txt", "url": url, "lines": 3, "sha256": SHA256, "split": "test", **changes})


def test_the_folder_is_the_one_that_the_variable_names_or_the_cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MOSO_LISTS", raising=False)
    assert lists.folder() == tmp_path / ".cache" / "moso" / "lists"
    monkeypatch.setenv("MOSO_LISTS", "~/elsewhere")
    assert lists.folder() == tmp_path / "elsewhere"


def test_a_list_that_is_not_there_is_none_and_no_error(folder: Path) -> None:
    assert lists.path_of(published()) is None
    assert lists.read_list(published()) is None


def test_lines_are_read_without_blank_ones_and_surrounding_space(folder: Path) -> None:
    folder.mkdir()
    (folder / "list.txt").write_bytes(CONTENT)
    assert lists.path_of(published()) == folder / "list.txt"
    assert lists.read_list(published()) == ["person17_boxing_d1 1 110", "person17_boxing_d1 110 192", "robot.hdf5"]


def test_another_content_is_refused_with_what_replaces_it(folder: Path) -> None:
    folder.mkdir()
    (folder / "list.txt").write_bytes(CONTENT + b"x")
    with pytest.raises(
        DataError, match=rf"sha256 is [0-9a-f]{{64}}, that of the published list is {SHA256}.*fetch-lists"
    ):
        lists.read_list(published())


def test_a_number_of_lines_that_the_content_does_not_have_is_refused(folder: Path) -> None:
    folder.mkdir()
    (folder / "list.txt").write_bytes(CONTENT)
    with pytest.raises(DataError, match="3 lines, the spec says 4"):
        lists.path_of(published(lines=4))


def test_a_list_is_fetched_once_and_a_damaged_one_is_replaced(folder: Path, serve) -> None:
    item = published(serve(CONTENT))
    folder.mkdir()
    (folder / "list.txt").write_bytes(b"damaged")
    assert lists.fetch(item) == folder / "list.txt"
    assert lists.read_list(item)[0] == "person17_boxing_d1 1 110"
    serve(b"gone")
    assert lists.fetch(item) == folder / "list.txt"
    assert os.listdir(folder) == ["list.txt"]


def test_another_content_than_was_published_is_not_kept(folder: Path, serve) -> None:
    with pytest.raises(DataError, match=rf"could not get list\.txt: http.*expected {SHA256}; on a machine without"):
        lists.fetch(published(serve(CONTENT + b"!")))
    assert os.listdir(folder) == []


def test_an_answer_without_end_is_broken_off(folder: Path, serve, monkeypatch) -> None:
    monkeypatch.setattr(lists, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        lists.fetch(published(serve(b"x" * 5_000_000)))
    assert os.listdir(folder) == []


def test_a_huge_file_in_the_lists_place_is_not_read(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(lists, "MOST_BYTES", 10)
    folder.mkdir()
    (folder / "list.txt").write_bytes(CONTENT)
    with pytest.raises(DataError, match="that is no split list"):
        lists.path_of(published())


def test_no_name_leads_out_of_the_folder(folder: Path) -> None:
    class Item:
        file, url, lines, sha256 = "../list.txt", "", 1, SHA256

    with pytest.raises(ConfigError, match="must be a plain file name"):
        lists.place_of(Item())  # type: ignore[arg-type]


def test_every_list_of_a_spec_is_published_at_a_fixed_commit() -> None:
    items = [item for path in (ROOT / "data" / "specs").glob("*.yaml") for item in DatasetSpec.load(path).lists]
    assert items
    for item in items:
        parts = item.url.split("/")
        assert parts[2] == "raw.githubusercontent.com"
        assert len(parts[5]) >= 12
        assert set(parts[5]) <= set("0123456789abcdef")  # a commit, no branch


def test_the_specs_describe_the_lists_that_lie_here(monkeypatch) -> None:
    """Where MOSO_LISTS (or ../shared/lists beside the project) has them."""
    named = os.environ.get("MOSO_LISTS") or str(ROOT.parent / "shared" / "lists")
    if not Path(named).is_dir():
        pytest.skip("no folder of published lists on this machine")
    monkeypatch.setenv("MOSO_LISTS", named)
    items = [item for path in (ROOT / "data" / "specs").glob("*.yaml") for item in DatasetSpec.load(path).lists]
    there = [item for item in items if lists.place_of(item).is_file()]
    for item in there:
        assert len(lists.read_list(item)) == item.lines
