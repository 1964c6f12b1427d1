"""What is in the images and what is not."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from components.image_build import Engine, build
from components.image_requirements import FOLDER, TARGETS
from moso import __version__
from moso.provenance import code_digest, git_commit

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.containers
each_image = pytest.mark.parametrize("target", TARGETS)


@each_image
def test_an_image_runs_as_a_plain_user(containers: Any, target: str) -> None:
    found = containers.python(target, "import os; found = [os.getuid(), os.getgid(), os.access('/opt/moso', os.W_OK)]")
    assert found == [10001, 10001, False]


@each_image
def test_any_user_may_write_where_it_works_and_at_home(containers: Any, target: str) -> None:
    code = "import getpass, os, pathlib; [pathlib.Path(p, 'x').write_text('') for p in ('.', os.environ['HOME'])]"
    found = containers.python(target, f"{code}; found = [os.getcwd(), getpass.getuser()]", user="54321:54321")
    assert found == ["/work", "moso"]


@each_image
def test_nothing_in_an_image_builds_or_installs(containers: Any, target: str) -> None:
    tools = ("gcc", "cc", "g++", "c++", "clang", "make", "ld", "git", "pip", "pip3", "uv", "conda")
    assert containers.python(target, f"import shutil; found = [t for t in {tools} if shutil.which(t)]") == []
    # Neither the environment's python nor the base's knows pip.
    spec = "import importlib.util as u; print([m for m in ('pip', 'ensurepip', 'wheel') if u.find_spec(m)])"
    code = "import pathlib, subprocess, sys\nbase = pathlib.Path(sys.executable).resolve()\n"
    code += f"found = [subprocess.check_output([p, '-c', {spec!r}], text=True).strip() for p in (sys.executable, base)]"
    assert containers.python(target, code) == ["[]", "[]"]


def test_the_image_for_data_has_no_torch(containers: Any) -> None:
    found = containers.python("data", "from importlib.util import find_spec; found = find_spec('torch') is None")
    assert found is True


@pytest.mark.parametrize("target", ["train", "serve"])
def test_the_cpu_variant_has_no_cuda(containers: Any, target: str) -> None:
    code = "import torch; from importlib.metadata import distributions as d\n"
    code += "found = [torch.version.cuda, [n for p in d() if (n := p.name).startswith(('nvidia', 'triton'))]]"
    assert containers.python(target, code) == [None, []]


@each_image
def test_labels_name_the_commit(containers: Any, target: str) -> None:
    image = containers.client.images.get(containers.names[target])
    labels = {k.removeprefix("org.opencontainers.image."): v for k, v in image.labels.items()}
    assert labels["revision"] == git_commit()
    assert labels["version"] == __version__
    assert labels["title"] == f"moso-{target}"
    assert labels["licenses"] == "MIT"


@each_image
def test_the_code_is_this_tree_s(containers: Any, target: str) -> None:
    code = "from moso.provenance import code_digest, git_commit; found = [code_digest(), git_commit()]"
    assert containers.python(target, code) == [code_digest(), git_commit()]


@each_image
def test_installed_is_what_the_list_says_and_the_bill_of_materials_names_it(containers: Any, target: str) -> None:
    code = "from importlib.metadata import distributions as d\n"
    code += "bill = json.load(open('/opt/moso/sbom.json'))\n"
    code += "found = [sorted({f'{p.name}=={p.version}' for p in d()}), "
    code += "sorted(f\"{c['name']}=={c['version']}\" for c in bill['components'])]"
    installed, billed = ([_plain(line) for line in lines] for lines in containers.python(target, code))
    listed = [line for line in (FOLDER / f"{target}.txt").read_text().splitlines() if not line.startswith("#")]
    expected = sorted([*listed, f"moso=={__version__}"])
    assert sorted(installed) == expected
    assert sorted(billed) == expected


def _plain(line: str) -> str:
    """`Foo_Bar==1+cpu` as `foo-bar==1`."""
    from packaging.utils import canonicalize_name

    name, _, version = line.partition("==")
    return f"{canonicalize_name(name)}=={version.partition('+')[0]}"


@each_image
def test_a_package_that_lacks_another_is_found(containers: Any, target: str) -> None:
    """The lists are installed without resolving; so every requirement of every package is looked up here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    code = "from importlib.metadata import distributions as d; found = {p.name: [p.version, p.requires] for p in d()}"
    found = containers.python(target, code)
    versions = {canonicalize_name(name): version for name, (version, _) in found.items()}
    bad = []
    for name, (_, requires) in found.items():
        for text in requires or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": "", "python_version": "3.11"}):
                continue
            version = versions.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                bad.append(f"{name} needs {text}, there is {version}")
    left_out = {f"moso needs {r}, there is None" for r in found["moso"][1] if r.startswith("torch>")}
    assert set(bad) - (left_out if target == "data" else set()) == set()


def test_no_secret_of_the_tree_or_of_the_builder_is_in_a_layer(
    containers: Any, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "planted" + "-5f2c9a" * 3  # put together here: this file itself is not in an image, but be sure
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md", "requirements.lock", ".dockerignore"):
        shutil.copy(ROOT / name, tree)
    for name in ("moso", "components", "pipelines", "data/specs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    hidden = (".env", "moso/.env", "components/.env.production", "data/raw.txt", ".git/config", "tls.key", "moso/a.pem")
    for name in (*hidden, ".dvc/config.local", "mlruns/mlflow.db"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"AWS_SECRET_ACCESS_KEY={secret}\n")
    (tree / "moso" / "seen.txt").write_text("a file that is not hidden: " + "seen" + "-81d7")
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "MOSO_S3_SECRET"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setattr(Engine, "reference", lambda self, target: f"localhost/moso-planted-{target}:test")
    name = build("data", engine, root=tree)
    saved = tmp_path / "image.tar"
    try:
        image = containers.client.images.get(name)
        assert secret not in json.dumps([image.attrs, image.history()])
        with saved.open("wb") as file:
            for block in image.save():
                file.write(block)
    finally:
        containers.client.images.remove(name, force=True)  # Buildah leaves a container of it behind
    found = {word: _in_archive(saved, word.encode()) for word in (secret, "seen-81d7")}
    assert found == {secret: False, "seen-81d7": True}, "the second shows that the search reaches into layers"
    assert os.environ["MOSO_S3_SECRET"] == secret


def _in_archive(path: Path, word: bytes) -> bool:
    """Whether a file of the layers of a saved image holds `word`, or is named so."""
    with tarfile.open(path) as image:
        for member in image.getmembers():
            file = image.extractfile(member)
            if file is None:
                continue
            try:
                with tarfile.open(fileobj=file) as layer:
                    for entry in layer:
                        content = layer.extractfile(entry) if entry.isfile() else None
                        if content is not None and word in content.read():
                            return True
            except tarfile.ReadError:
                file.seek(0)
                if word in file.read():
                    return True
    return False
