"""Vector quantisation over one codebook, learned by exponential moving averages (Eq. 2).

P positions, N codebook size, D code dimension. One update a step from the positions of all components together. The
components share all N entries, or each has a part of them to itself (Table 11). The research code's pitfalls are
avoided by construction: no one-hot matrix (statistics by scatter-add), no positions x N x D array (search by blocks of
a matrix product), no decay of unused codes to zero, statistics summed over all workers, no update in evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from moso.errors import ConfigError
from moso.training.world import World

BLOCK = 1 << 22
"""Distances held at once, at most (16 MiB of float32)."""
CODES = 1 << 10
"""On a CPU so many codes are compared at a time (with 2,048 positions: 8 MiB, which stay in its caches), 1.5 times as
fast as all 16,384 at a time (docs/performance.md, Codebook search). A GPU takes all at once."""


@dataclass(frozen=True)
class CodebookConfig:
    """How the codebook learns."""

    decay: float = 0.99
    """Of the moving averages, a step (released code)."""
    smoothing: float = 1e-5
    """Laplace smoothing of the usage counts (released code)."""
    restart_every: int = 100
    """Steps between restarts of dead entries; 0: never. No source: the released code resets one entry a step."""
    restart_below: float = 0.02
    """An entry is dead where its average use is below this share of the mean entry's. No source."""
    restart_until: float = 0.85
    """Share of the steps after which nothing is restarted any more, so that the codebook settles (embedded run)."""

    def __post_init__(self) -> None:
        for name in ("decay", "restart_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    name,
                    getattr(self, name),
                    "must lie in [0, 1]",
                    "0.99 is the usual decay, 0.85 the usual end of restarts",
                )
        if self.decay == 1:
            raise ConfigError("decay", self.decay, "must be below 1, or the codebook never learns", "0.99 would fit")
        for name in ("smoothing", "restart_below"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "must not be negative", "0 turns it off")
        if self.restart_every < 0:
            raise ConfigError("restart_every", self.restart_every, "must not be negative", "0 turns restarts off")


@torch.no_grad()
def nearest(
    vectors: Float[Tensor, "P D"], codebook: Float[Tensor, "N D"], block: int | None = None
) -> Int[Tensor, " P"]:
    """Index of the nearest code (Euclidean) of each vector; the first of equals.

    ||z - e||^2 = ||z||^2 - 2 z.e + ||e||^2, and ||z||^2 does not change the order. Always in float32 at least, whatever
    autocast says: in bf16 near codes would be mixed up.

    Args:
        block: at most so many distances exist at once, of some positions to all codes. Default: BLOCK on a GPU; on a
            CPU half of that, and CODES codes at a time.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(vectors.dtype, codebook.dtype), torch.float32)
        # distances do not change when both are shifted; about the codes' mean the products are small and so is their
        # rounding
        centre = codebook.to(dtype).mean(0)
        codes = codebook.to(dtype) - centre
        tiled = block is None and vectors.device.type == "cpu"
        width = min(len(codes), CODES) if tiled else len(codes)
        rows = max(1, (block or (BLOCK // 2 if tiled else BLOCK)) // width)
        tiles = list(zip(codes.split(width), codes.square().sum(1).split(width), strict=True))
        found = [_nearest(part.to(dtype) - centre, tiles) for part in vectors.split(rows)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=vectors.device)


def _nearest(
    vectors: Float[Tensor, "p D"], tiles: Sequence[tuple[Float[Tensor, "_n D"], Float[Tensor, " _n"]]]
) -> Int[Tensor, " p"]:
    """The same of a few vectors, the codes and their squared norms given in parts."""
    least: Tensor | None = None
    for i, (codes, squares) in enumerate(tiles):
        here, at = torch.addmm(squares, vectors, codes.T, alpha=-2).min(1)
        if least is None:
            least, found = here, at
            continue
        nearer = here < least  # strictly: of equals the first is kept
        least, found = torch.where(nearer, here, least), torch.where(nearer, at + i * len(tiles[0][0]), found)
    return found


class Quantizer(nn.Module):
    """The codebook and its moving averages, all buffers: they are part of the checkpoint and of no optimizer.

    Args:
        size: N.
        dimension: D.
        parts: how many codebooks it is made of, one behind the other, equally large. Search, smoothing, death and
            restart stay inside a part; tokens are indices into the whole.

    Buffers:
        codebook: (N, D), e_1 .. e_N.
        use: (N,), moving average of each entry's uses a step, from zero.
        weight: (), what `use` would be of an entry used once in each step: use / weight is the debiased average.
    """

    codebook: Tensor
    use: Tensor
    weight: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dimension: int, parts: int = 1) -> None:
        super().__init__()
        self.parts = [slice(i * size // parts, (i + 1) * size // parts) for i in range(parts)]
        self.register_buffer("codebook", torch.empty(size, dimension).normal_(std=dimension**-0.5))
        self.register_buffer("use", torch.zeros(size))
        self.register_buffer("weight", torch.zeros(()))
        # statistics of the step in progress: no state, they are empty between steps
        self.register_buffer("counts", torch.zeros(size), persistent=False)
        self.register_buffer("sums", torch.zeros(size, dimension), persistent=False)

    def find(self, vectors: Float[Tensor, "P D"], part: int = 0) -> Int[Tensor, " P"]:
        """Tokens of vectors (Eq. 2), each the nearest entry of a part."""
        entries = self.parts[part]
        return nearest(vectors, self.codebook[entries]) + entries.start

    def search(self, features: Float[Tensor, "*b D h w"], part: int = 0) -> Int[Tensor, "*b h w"]:
        """Tokens of a grid of features."""
        vectors = features.movedim(-3, -1)
        return self.find(vectors.reshape(-1, vectors.shape[-1]), part).view(vectors.shape[:-1])

    def codes(self, tokens: Int[Tensor, "*b h w"]) -> Float[Tensor, "*b D h w"]:
        """codebook[tokens] as a grid."""
        return self.codebook[tokens].movedim(-1, -3)

    @torch.no_grad()
    def observe_(self, vectors: Float[Tensor, "P D"], tokens: Int[Tensor, " P"], weight: float = 1.0) -> None:
        """Add positions to the statistics of the step in progress; `weight` is what each counts."""
        ones = torch.full(tokens.shape, weight, dtype=self.counts.dtype, device=tokens.device)
        self.counts.index_add_(0, tokens, ones)
        self.sums.index_add_(0, tokens, vectors.to(self.sums.dtype), alpha=weight)

    @torch.no_grad()
    def update_(self, config: CodebookConfig, world: World, names: Sequence[str] = ()) -> dict[str, float]:
        """The step's one EMA update, from the statistics of all components and workers; empties them.

        The released rule averages counts n and sums S and sets e = S / n, smoothed: an unused entry's sum then decays
        towards zero while its smoothed count does not, and the entry with it. The same average written as a step,

            e <- e + (1 - decay) / (weight * smoothed use) * (S - n e),

        equals it without smoothing (the debiasing cancels), and leaves an unused entry (S = n = 0) exactly where it
        is; smoothing only guards the division.

        Args:
            names: of the parts, where each is to be logged by itself too.

        Returns:
            Figures to log: codes_used, entries used in this step, and the perplexity of their use; with `names` also
            codes_used_<name> and perplexity_<name>.
        """
        counts, sums = world.all_reduce_(self.counts), world.all_reduce_(self.sums)
        rate = 1 - config.decay
        self.use.mul_(config.decay).add_(counts, alpha=rate)
        self.weight.mul_(config.decay).add_(rate)
        average = self.use / self.weight
        smoothed = torch.cat([_smooth(average[part], config.smoothing) for part in self.parts])
        # an entry that was never used has smoothed use 0 where smoothing is off: 0 / 0, masked by its count
        factor = torch.where(counts > 0, rate / self.weight / smoothed.clamp_min(1e-12), 0.0)
        towards = torch.addcmul(sums, counts[:, None], self.codebook, value=-1)
        self.codebook.addcmul_(towards, factor[:, None])
        figures = _usage(counts)
        for name, part in zip(names, self.parts, strict=bool(names)):
            figures |= _usage(counts[part], f"_{name}")
        self.counts.zero_()
        self.sums.zero_()
        return {name: float(value) for name, value in figures.items()}

    def dead(self, config: CodebookConfig) -> Int[Tensor, " M"]:
        """Entries whose average use is below the configured share of the mean entry's of their part."""
        return torch.nonzero(self.use < config.restart_below * self._mean_use()).flatten()

    @torch.no_grad()
    def replace_(
        self, entries: Int[Tensor, " M"], vectors: Float[Tensor, "M D"], use: Float[Tensor, "M"] | float | None = None
    ) -> None:
        """Set entries anew: dead ones at a restart, all of them after k-means.

        Args:
            use: uses a step to begin the average with; by default the mean entry's of the part, so that a new entry
                is neither dead again at once nor thrown about by its first few positions.
        """
        self.codebook[entries] = vectors.to(self.codebook.dtype)
        if use is None:
            use = self._mean_use()[entries] / self.weight.clamp_min(1e-12)
        self.use[entries] = (torch.as_tensor(use, device=self.use.device) * self.weight).to(self.use.dtype)

    def _mean_use(self) -> Float[Tensor, " N"]:
        """For each entry the mean of `use` over its part."""
        return torch.cat([self.use[part].mean().expand(len(self.use[part])) for part in self.parts])


def _usage(counts: Float[Tensor, " n"], suffix: str = "") -> dict[str, Tensor]:
    """How many entries were used, and the perplexity of their use."""
    share = counts / counts.sum().clamp_min(1)
    perplexity = torch.exp(-(share * share.clamp_min(1e-12).log()).sum())
    return {f"codes_used{suffix}": (counts > 0).sum(), f"perplexity{suffix}": perplexity}


def _smooth(average: Float[Tensor, " n"], smoothing: float) -> Float[Tensor, " n"]:
    """Laplace smoothing of one codebook's use, which keeps its sum."""
    total = average.sum()
    return (average + smoothing) / (total + len(average) * smoothing) * total
