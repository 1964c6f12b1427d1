"""Pretrained networks of other people: which files, where they come from, and the folder in which they are kept.

moso trains none of them and ships none: perceptual loss and some metrics need them. A file counts only where its sha256
is the published one, whoever put it there. They lie in `folder()`: the one that MOSO_WEIGHTS names, or
~/.cache/moso/weights. Nothing is downloaded unless it is asked for (`moso weights fetch NAME`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moso.download import DownloadError, OnProgress, download
from moso.errors import ConfigError, DataError, MosoError
from moso.provenance import digest_file

VARIABLE = "MOSO_WEIGHTS"
"""Environment variable that names another folder."""


class WeightsError(MosoError):
    """A pretrained file that is missing, is not what was published, or cannot be downloaded."""


@dataclass(frozen=True)
class PretrainedFile:
    """One file.

    Attributes:
        file: its name in the folder.
        addresses: where it is published, tried in order.
        bytes: its size; None where no source states it.
        sha256: of its content, hexadecimal, as public projects pin it.
        used_for: what in moso asks for it.
        licence: of the file, as far as its publisher states one; whoever fetches it is bound by it, moso passes
            nothing on.
    """

    file: str
    addresses: tuple[str, ...]
    bytes: int | None
    sha256: str
    used_for: str
    licence: str = "not stated"


TORCHVISION = "torchvision (code BSD-3-Clause); its README: weights may have terms of their data set, ImageNet"

FILES: dict[str, PretrainedFile] = {
    "vgg16": PretrainedFile(
        "vgg16-397923af.pth",
        ("https://download.pytorch.org/models/vgg16-397923af.pth",),
        553_433_881,
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        "perceptual loss of Stage I, LPIPS (VGG)",
        TORCHVISION,
    ),
    "alexnet": PretrainedFile(
        "alexnet-owt-7be5be79.pth",
        ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
        244_408_911,
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        "LPIPS (AlexNet)",
        TORCHVISION,
    ),
    "squeezenet": PretrainedFile(
        "squeezenet1_1-b8a52dc0.pth",
        ("https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",),
        None,
        "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
        "LPIPS (SqueezeNet)",
        TORCHVISION,
    ),
    "inception": PretrainedFile(
        "weights-inception-2015-12-05-6726825d.pth",
        (
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
            "weights-inception-2015-12-05-6726825d.pth",
        ),
        None,
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "FID",
        "torch-fidelity, which publishes it, Apache-2.0; converted from TensorFlow's Inception of 2015-12-05",
    ),
    "i3d": PretrainedFile(
        "i3d_torchscript.pt",
        (
            "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1",
            "https://huggingface.co/flateon/FVD-I3D-torchscript/resolve/main/i3d_torchscript.pt",
        ),
        51_235_320,
        "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2",
        "FVD",
        "none stated beside the file; StyleGAN-V's export of DeepMind's I3D (Kinetics-400): ask its publishers",
    ),
}
"""By the name that `moso weights` uses."""


def folder() -> Path:
    """Where the files lie (it need not exist)."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "moso" / "weights"


def known(name: str, files: Mapping[str, PretrainedFile] | None = None) -> PretrainedFile:
    """The entry of `name`.

    Args:
        files: another table than FILES; tests put stand-ins there.

    Raises:
        ConfigError: no such entry.
    """
    table = FILES if files is None else files
    if name not in table:
        raise ConfigError("weights", name, "no such pretrained network", f"known: {', '.join(table)}")
    return table[name]


def path_of(name: str, files: Mapping[str, PretrainedFile] | None = None) -> Path:
    """The verified file of a network: its content is read once and its sha256 compared.

    Args:
        files: another table than FILES; tests put stand-ins there. The check is the same.

    Raises:
        WeightsError: it is not in the folder, or is another file; the message says how to get it.
    """
    entry = known(name, files)
    path = folder() / entry.file
    if not path.is_file():
        raise WeightsError(
            f"{entry.file} ({entry.used_for}) is not in {folder()}; get it with `moso weights fetch {name}`, or put it "
            f"there yourself ({VARIABLE} names another folder): {entry.addresses[0]}, sha256 {entry.sha256}"
        )
    found = digest_file(path)
    if found != entry.sha256:
        raise WeightsError(
            f"{path}: sha256 is {found}, that of {entry.file} is {entry.sha256}: it is damaged or another file; "
            f"`moso weights fetch {name}` replaces it ({entry.addresses[0]})"
        )
    return path


def read_weights(path: Path) -> dict[str, Any]:
    """The state dict of a file, on the CPU. weights_only: nothing in it is run.

    Raises:
        DataError: it cannot be read so.
    """
    import torch  # kept off the start of `moso weights`

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a file that is no checkpoint
        raise DataError(f"{path} cannot be read as weights: {error}") from error
    return state


def is_verified(name: str) -> bool | None:
    """Whether the file is there and is the published one; None where it is not there."""
    path = folder() / known(name).file
    return digest_file(path) == known(name).sha256 if path.is_file() else None


def fetch(name: str, on_progress: OnProgress | None = None) -> Path:
    """Download a file unless the verified one is there, and return its path.

    Args:
        on_progress: called with the bytes so far and, where the server says it, the whole size (moso.download).

    Raises:
        WeightsError: no address gives the file; each address and what it answered is named.
    """
    entry = known(name)
    target = folder() / entry.file
    if is_verified(name):
        return target
    try:
        return download(entry.addresses, target, entry.sha256, on_progress=on_progress)
    except DownloadError as error:
        raise WeightsError(
            f"could not get {entry.file}: {error}; on a machine without network copy the file to {target}"
        ) from error
