"""The two trained parts of a model, checked to belong together, and what their sizes are."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch

from moso.device import device_of
from moso.errors import ConfigError, MismatchError
from moso.provenance import digest_json, read_provenance
from moso.tasks.loading import model_folder, stored_sampling
from moso.tokens.store import codebook_digest
from moso.transformer.config import SamplingConfig
from moso.transformer.model import MosoTransformer, load_transformer
from moso.vqvae.model import VQVAE, load_vqvae

BATCH = 16


class Networks:
    """A trained VQVAE and transformer that belong together.

    Attributes:
        vqvae: Stage I, in evaluation mode.
        transformer: Stage II, in evaluation mode.
        sampling: the model's own sampling settings, used where a call gives none.
        device: where it runs.
        digest: sha256 over the digests of both parts: the model's identity.
        batch: clips worked on at a time.
    """

    def __init__(
        self,
        vqvae: VQVAE,
        transformer: MosoTransformer,
        *,
        sampling: SamplingConfig | None = None,
        digest: str = "",
        device: str | torch.device = "auto",
        batch: int = BATCH,
    ) -> None:
        """Put two parts together.

        Raises:
            MismatchError: the transformer was trained on tokens of another codebook or other grids.
            ConfigError: `batch` below 1.
        """
        found = codebook_digest(vqvae.codebook)
        if transformer.codebook_digest != found:
            raise MismatchError(
                f"the transformer was trained on tokens of codebook {transformer.codebook_digest[:12]}, this VQVAE's "
                f"is {found[:12]}: take the VQVAE it was trained with, or rerun extract_tokens and train_transformer"
            )
        if transformer.grids != vqvae.grids:
            raise MismatchError(f"token grids differ: the transformer's {transformer.grids}, the VQVAE's {vqvae.grids}")
        if batch < 1:
            raise ConfigError("batch", batch, "must be at least 1")
        self.device = device_of(device)
        self.vqvae = vqvae.to(self.device).eval()
        self.transformer = transformer.to(self.device).eval()
        self.sampling = sampling or SamplingConfig()
        self.digest = digest
        self.batch = batch

    @classmethod
    def load(cls, reference: str | Path, device: str = "auto") -> Self:
        """The model that a reference names.

        Args:
            reference: a folder with vqvae/ and transformer/, or an address such as "models:/moso-sim_push@champion"
                (see moso.tasks.loading).
            device: "cpu", "cuda" …; "auto" takes a GPU where there is one.

        Raises:
            MosoError: no such folder, or no resolver for the address.
            FormatError: a part that moso did not write, or of another version.
        """
        folder = model_folder(reference)
        return cls.from_parts(folder / "vqvae", folder / "transformer", device)

    @classmethod
    def from_parts(cls, vqvae_folder: str | Path, transformer_folder: str | Path, device: str = "auto") -> Self:
        """The model made of the output folders of train_vqvae and train_transformer.

        Raises:
            FormatError: a folder that moso did not write, or of another version.
            MismatchError: folders that do not belong together.
        """
        stage_one, stage_two, target = Path(vqvae_folder), Path(transformer_folder), device_of(device)
        parts = {
            "vqvae": read_provenance(stage_one, format="moso.vqvae", version=1)["digest"],
            "transformer": read_provenance(stage_two, format="moso.transformer", version=1)["digest"],
        }
        return cls(
            load_vqvae(stage_one, target),
            load_transformer(stage_two, target),
            sampling=stored_sampling(stage_two),
            digest=digest_json(parts),
            device=target,
        )

    @property
    def given_frames(self) -> int:
        """K, the frames that `predict` takes."""
        return self.transformer.given_frames

    @property
    def clip_frames(self) -> int:
        """T, given and predicted frames together."""
        return self.vqvae.grids.frames

    @property
    def predicted_frames(self) -> int:
        """T - K."""
        return self.clip_frames - self.given_frames

    @property
    def height(self) -> int:
        """Of a frame, in pixels."""
        return self.vqvae.config.height

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""
        return self.vqvae.config.width

    @property
    def components(self) -> tuple[str, ...]:
        """Those of "scene", "object" and "motion" that the model has; ablations do without some."""
        return self.vqvae.grids.components

    @property
    def codebook_digest(self) -> str:
        """Identity of the codebook that tokens are indices of."""
        return self.transformer.codebook_digest

    @property
    def codebook_size(self) -> int:
        """N."""
        return len(self.vqvae.codebook)
