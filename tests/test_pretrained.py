"""Pretrained files: only the published bytes count, and nothing half-written ever stands in their place."""

import contextlib
import hashlib
import http.server
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from moso import pretrained
from moso.cli.weights import command
from moso.errors import ConfigError
from moso.pretrained import PretrainedFile, WeightsError

CONTENT = b"weights" * 300_000
"""2.1 MB: more than one block."""
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that MOSO_WEIGHTS names; empty."""
    monkeypatch.setenv("MOSO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def served(tmp_path):
    """A web server on this machine: served(path, content) -> address; `asked` holds the paths of all requests."""
    site = tmp_path / "site"
    site.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(site))

        def log_message(self, form, *values):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def serve(path, content=None):
        if content is not None:
            (site / path).write_bytes(content)
        return f"http://127.0.0.1:{server.server_port}/{path}"

    serve.asked = asked
    yield serve
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def register(monkeypatch):
    """Put an entry "small" into the table: register(*addresses)."""

    def put(*addresses, bytes=SIZE):
        entry = PretrainedFile("small.pth", addresses, bytes, SHA256, "tests")
        monkeypatch.setattr(pretrained, "FILES", {**pretrained.FILES, "small": entry})

    return put


def test_the_table_says_what_public_projects_pin():
    assert {"vgg16", "alexnet", "squeezenet", "inception", "i3d"} <= pretrained.FILES.keys()
    for entry in pretrained.FILES.values():
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert all(address.startswith("https://") for address in entry.addresses)
        if entry.file.endswith(".pth"):  # torch's files carry the first eight digits of it in their name
            assert entry.file.rpartition("-")[2] == f"{entry.sha256[:8]}.pth"
    assert pretrained.FILES["vgg16"].bytes == 553_433_881


def test_the_folder_is_the_one_that_the_variable_names_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MOSO_WEIGHTS", raising=False)
    assert pretrained.folder() == tmp_path / ".cache" / "moso" / "weights"
    monkeypatch.setenv("MOSO_WEIGHTS", "~/elsewhere")
    assert pretrained.folder() == tmp_path / "elsewhere"


def test_a_missing_file_is_named_with_its_place_address_digest_and_command(folder):
    with pytest.raises(WeightsError) as caught:
        pretrained.path_of("vgg16")
    message = str(caught.value)
    for part in (
        "vgg16-397923af.pth",
        str(folder),
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "moso weights fetch vgg16",
        "MOSO_WEIGHTS",
    ):
        assert part in message
    assert "\n" not in message


def test_a_file_with_one_wrong_byte_is_refused(folder, register):
    register("https://nowhere.invalid/small.pth")
    folder.mkdir()
    path = folder / "small.pth"
    path.write_bytes(CONTENT)
    assert pretrained.path_of("small") == path
    path.write_bytes(CONTENT[:-1] + b"S")
    assert pretrained.is_verified("small") is False
    with pytest.raises(WeightsError, match=rf"sha256 is [0-9a-f]{{64}}, that of small.pth is {SHA256}.*moso weights"):
        pretrained.path_of("small")


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ConfigError, match=r"weights = 'vgg': no such pretrained network; known: vgg16, alexnet"):
        pretrained.path_of("vgg")


def test_a_file_is_fetched_once_with_progress(folder, register, served):
    register(served("small.pth", CONTENT))
    seen = []
    path = pretrained.fetch("small", lambda done, whole: seen.append((done, whole)))
    assert path == pretrained.path_of("small") == folder / "small.pth"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(seen) > 2
    assert pretrained.fetch("small") == path
    assert len(served.asked) == 1


def test_another_content_is_refused_and_nothing_is_left(folder, register, served):
    register(served("small.pth", CONTENT + b"!"))
    with pytest.raises(WeightsError, match=rf"could not get small.pth: http://.*: sha256 is .*, expected {SHA256}"):
        pretrained.fetch("small")
    assert list(folder.iterdir()) == []


def test_the_next_address_is_tried_where_one_fails(folder, register, served):
    register(served("missing.pth"), served("other.pth", b"other"), served("mirror.pth", CONTENT))
    assert pretrained.fetch("small").read_bytes() == CONTENT
    assert served.asked == ["/missing.pth"] * served.asked.count("/missing.pth") + ["/other.pth", "/mirror.pth"]


def test_a_download_that_fails_leaves_what_was_there(folder, register, served):
    """The damaged file is replaced by the right one only."""
    register(served("missing.pth"))
    folder.mkdir()
    (folder / "small.pth").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="404"):
        pretrained.fetch("small")
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("small.pth", b"damaged")]
    register(served("small.pth", CONTENT))
    pretrained.fetch("small")
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("small.pth", CONTENT)]


def test_the_command_lists_and_fetches(folder, register, served):
    register(served("small.pth", CONTENT), bytes=None)

    def row():
        lines = CliRunner().invoke(command, ["list"]).output.splitlines()
        assert lines[0] == f"folder: {folder}"
        return next(line for line in lines if line.startswith("small")).split()[1]

    assert row() == "missing"
    result = CliRunner().invoke(command, ["fetch", "small"])
    assert result.exit_code == 0, result.output
    assert str(folder / "small.pth") in result.output
    assert result.output.splitlines()[-1].startswith("`dvc repro --force --single-item evaluate` computes")
    assert row() == "here"
    assert "here already" in CliRunner().invoke(command, ["fetch", "small"]).output
    (folder / "small.pth").write_bytes(b"?")
    assert row() == "DAMAGED"


def test_the_command_asks_what_to_fetch_and_passes_a_refusal_on(folder, register, served):
    register(served("missing.pth"))
    assert "known: vgg16" in CliRunner().invoke(command, ["fetch"]).output
    refused = CliRunner().invoke(command, ["fetch", "small"])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, WeightsError)


def test_two_fetches_at_once_leave_one_whole_file(folder, register, served):
    register(served("small.pth", CONTENT))
    paths: list[Path] = []
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            thread = threading.Thread(target=lambda: paths.append(pretrained.fetch("small")))
            thread.start()
            stack.callback(thread.join)
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == CONTENT
    assert [p.name for p in folder.iterdir()] == ["small.pth"]


def test_the_command_verifies_what_is_here_and_fails_on_what_is_damaged_or_asked_for_and_missing(folder, register):
    register("https://nowhere.invalid/small.pth")

    def verify(*names):
        return CliRunner().invoke(command, ["verify", *names])

    assert (verify().exit_code, verify().output) == (0, f"none of the files is in {folder}\n")
    missing = verify("small")
    assert missing.exit_code == 1
    assert "small       missing" in missing.output
    assert "moso weights fetch small" in str(missing.exception)
    folder.mkdir()
    (folder / "small.pth").write_bytes(CONTENT)
    for result in (verify(), verify("small")):
        assert result.exit_code == 0
        assert result.output == f"small       verified  small.pth  sha256 {SHA256}\n"
    (folder / "small.pth").write_bytes(CONTENT[1:])
    damaged = verify()
    assert damaged.exit_code == 1
    assert "DAMAGED" in damaged.output
    assert "not the published file" in str(damaged.exception)
    assert (folder / "small.pth").read_bytes() == CONTENT[1:]


def test_addresses_digests_and_licences_are_listed(folder):
    output = CliRunner().invoke(command, ["list", "--details"]).output
    for entry in pretrained.FILES.values():
        assert entry.licence != "not stated"
        for part in (*entry.addresses, entry.sha256, entry.licence):
            assert part in output


def test_another_table_is_checked_as_strictly(folder):
    """Tests put stand-ins into a table of their own: the published one and the check stay as they are."""
    table = {"own": PretrainedFile("own.pth", ("https://nowhere.invalid/own.pth",), SIZE, SHA256, "tests")}
    folder.mkdir()
    (folder / "own.pth").write_bytes(CONTENT)
    assert pretrained.path_of("own", table) == folder / "own.pth"
    (folder / "own.pth").write_bytes(b"other")
    with pytest.raises(WeightsError, match="sha256 is"):
        pretrained.path_of("own", table)
    with pytest.raises(ConfigError, match="known: vgg16"):
        pretrained.path_of("own")
