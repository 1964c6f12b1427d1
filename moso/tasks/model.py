"""The Model facade: everything a trained MOSO can be asked for, in 8-bit frames.

    model = Model.load("models/sim_push")
    video = model.predict(frames, seed=3)      # uint8 (N, K, H, W, 3) -> uint8 (N, T-K, H, W, 3)

Work is done `batch` clips at a time, so memory is bounded whatever N is, and neither the batch nor the other clips in a
call change a clip's result, but for ties within the rounding of sums, whose order may depend on the batch. A task is a
method here and a file beside it. Every task takes `on_progress`, which is called with the number of clips (of
`generate`: videos) that were just done.

Frames that a caller hands in are annotated as plain arrays: `checks` refuses what does not fit, in words.

Legend: N clips, K given frames, T frames of a clip, P = T - K, S samples, L any number of frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any, get_args

import numpy as np
from jaxtyping import UInt8

from moso.choices import Carry, TokensFrom
from moso.errors import MismatchError, MosoError
from moso.tasks import checks
from moso.tasks import decompose as decomposing
from moso.tasks import encode as coding
from moso.tasks import generate as generating
from moso.tasks import interpolate as interpolating
from moso.tasks import predict as predicting
from moso.tasks import recombine as recombining
from moso.tasks import reconstruct as reconstructing
from moso.tasks import rollout as rolling
from moso.tasks.checks import InputError, seeds_of
from moso.tasks.chunks import OnProgress, chunks, gather, inference
from moso.tasks.networks import Networks
from moso.tasks.token_file import TokenFile
from moso.tokens.clip_tokens import ClipTokens
from moso.transformer.config import SamplingConfig
from moso.vqvae.decompose import HIGH, LOW

Seed = int | Sequence[int]


class Model(Networks):
    """A trained MOSO: a method a task. How it is loaded, and its sizes, stand in Networks."""

    @inference
    def predict(
        self,
        frames: np.ndarray,
        *,
        seed: Seed = 0,
        samples: int | None = None,
        sampling: SamplingConfig | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N *S P H W 3"]:
        """The frames that follow, as one sample or several.

        Args:
            frames: the given frames, uint8 [0, 255] (N, K, H, W, 3).
            seed: one number for all clips (so that a clip's video does not depend on its company), or one a clip.
            samples: how many of each clip; sample j of seed s is what seed s + j gives.
            sampling: settings in place of the model's own.
            on_progress: see the module.

        Returns:
            The T - K predicted frames, uint8 [0, 255]; with `samples` an axis for them after the clips.

        Raises:
            InputError: frames or seeds that do not fit, or a model that takes no given frames.
        """
        seeds, settings = self._given(frames, seed), sampling or self.sampling
        if samples is None:
            return gather(
                lambda rows: predicting.predict(self, frames[rows], seeds[rows], settings),
                len(frames),
                self.batch,
                on_progress,
            )
        count = checks.check_count("samples", samples)
        return gather(
            lambda rows: predicting.predict_samples(self, frames[rows], count, seeds[rows], settings),
            len(frames),
            max(1, self.batch // count),
            on_progress,
        )

    @inference
    def rollout(
        self,
        frames: np.ndarray,
        length: int,
        *,
        carry: Carry = "tokens",
        fade: bool = True,
        seed: Seed = 0,
        sampling: SamplingConfig | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N L H W 3"]:
        """Any number of frames that follow, clip after clip; the first clip is what `predict` gives.

        Args:
            frames: the given frames, uint8 [0, 255] (N, K, H, W, 3).
            length: L, frames to predict, at least 1.
            carry: what a clip hands to the next: "tokens" (Sec. 3.2), or "frames", decoded and encoded again.
            fade: spread what a joint between clips jumps by over two frames (no part of the paper).
            seed: as in `predict`; clip c of a rollout draws by a seed of its own, made of (seed, c).
            sampling: settings in place of the model's own.
            on_progress: see the module.

        Raises:
            InputError: what does not fit, or a model that takes no given frames.
        """
        return self._rolled(frames, length, carry, (fade,), seed, sampling, on_progress)[:, 0]

    def rollout_faded_and_not(
        self,
        frames: np.ndarray,
        length: int,
        *,
        carry: Carry = "tokens",
        seed: Seed = 0,
        sampling: SamplingConfig | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N 2 L H W 3"]:
        """What `rollout` gives with `fade` and without, drawn from the same tokens: for measuring what fading does."""
        return self._rolled(frames, length, carry, (True, False), seed, sampling, on_progress)

    def trials(
        self,
        frames: np.ndarray,
        samples: int,
        length: int | None = None,
        *,
        carry: Carry = "tokens",
        fade: bool = True,
        seed: Seed = 0,
        sampling: SamplingConfig | None = None,
    ) -> Iterator[tuple[slice, UInt8[np.ndarray, "N n L H W 3"]]]:
        """Many samples of each clip, a few at a time: for "the best of 100", whose videos need not be held together.

        All clips handed in are worked on together, and each is encoded once: hand in at most `batch`.

        Args:
            frames: the given frames, uint8 [0, 255] (N, K, H, W, 3).
            samples: S, how many of each clip; sample j of seed s is what seed s + j gives.
            length: L, frames to predict; T - K by default.
            carry, fade: as in `rollout`.
            seed: as in `predict`.
            sampling: settings in place of the model's own.

        Returns:
            Pairs: which samples, and their videos, uint8 [0, 255]; all S samples of all clips, in order.

        Raises:
            InputError: what does not fit, or a model that takes no given frames.
        """
        seeds, count = self._given(frames, seed), checks.check_count("samples", samples)
        steps = self.predicted_frames if length is None else checks.check_count("length", length)
        checks.check_choice("carry", carry, get_args(Carry))
        return self._trials(frames, count, steps, carry, fade, seeds, sampling or self.sampling)

    def generate(
        self,
        count: int,
        *,
        first: int = 0,
        seed: int = 0,
        sampling: SamplingConfig | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[UInt8[np.ndarray, "n T H W 3"]]:
        """Videos of nothing given, `batch` at a time as they are drawn (none is held).

        Args:
            count: how many.
            first: number of the first one. Video i is a function of (seed, i) alone.
            seed: of them all.
            sampling: settings in place of the model's own.
            on_progress: see the module.

        Raises:
            MosoError: the model was not trained for it.
            InputError: a number that does not fit.
        """
        if not self.transformer.unconditional:
            raise MosoError(
                f"generate: this model was trained to continue given frames ({self.given_frames}) only; train one with "
                "train_transformer.loss.unconditional_share above 0, or with given_frames = 0"
            )
        numbers = range(checks.check_count("first", first, least=0), first + checks.check_count("count", count))
        checks.check_count("seed", seed, least=0)
        return self._videos(numbers, seed, sampling or self.sampling, on_progress)

    @inference
    def interpolate(
        self,
        frames: np.ndarray,
        given: Sequence[int] | None = None,
        *,
        tokens_from: TokensFrom = "given_frames",
        seed: Seed = 0,
        sampling: SamplingConfig | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N T H W 3"]:
        """Whole clips whose missing frames are drawn; the given ones are as their tokens tell them.

        Args:
            frames: uint8 [0, 255] (N, T, H, W, 3); pixels of missing frames are never read with "given_frames".
            given: numbers of the given frames, from 0, at least one; every second one when None.
            tokens_from: "given_frames" alone, or the "whole_clip", the missing frames included (the paper's).
            seed: as in `predict`.
            sampling: settings in place of the model's own with 16 steps.
            on_progress: see the module.

        Raises:
            InputError: what does not fit.
        """
        self._check(frames)
        checks.check_choice("tokens_from", tokens_from, get_args(TokensFrom))
        every_second = range(0, self.clip_frames, 2)
        known = checks.check_frame_numbers("given", every_second if given is None else given, self.clip_frames)
        seeds = seeds_of(seed, len(frames))
        settings = sampling or dataclasses.replace(self.sampling, steps=interpolating.STEPS)
        return gather(
            lambda rows: interpolating.interpolate(
                self, frames[rows], sorted(set(known)), tokens_from, seeds[rows], settings
            ),
            len(frames),
            self.batch,
            on_progress,
        )

    @inference
    def recombine(
        self,
        *,
        scene: np.ndarray | None = None,
        object: np.ndarray | None = None,
        motion: np.ndarray | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N T H W 3"]:
        """Videos of one's scene, another's object and a third's motion: whole clips each, uint8 (N, T, H, W, 3).

        Raises:
            InputError: clips that do not fit, or that are missing, or that the model has no such component for.
        """
        named = {"scene": scene, "object": object, "motion": motion}
        videos = recombining.check_sources(named, self.components)
        for name, clips in videos.items():
            self._check(clips, name)
        count = recombining.check_counts(videos)
        return gather(
            lambda rows: recombining.recombine(self, {name: clips[rows] for name, clips in videos.items()}),
            count,
            self.batch,
            on_progress,
        )

    @inference
    def decompose(
        self, frames: np.ndarray, parts: Sequence[str] | None = None, *, on_progress: OnProgress | None = None
    ) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
        """Part -> the clips as the decoder draws that part alone (Sec. C.3).

        Args:
            frames: whole clips, uint8 (N, T, H, W, 3).
            parts: of "scene", "object", "motion" and "object_motion" (both together); all the model has when None.
            on_progress: see the module.

        Raises:
            InputError: frames that do not fit, or a part that the model has not.
        """
        self._check(frames)
        wanted = decomposing.check_parts(parts, self.components)
        result = {part: np.empty_like(frames) for part in wanted}
        for rows in chunks(len(frames), self.batch, on_progress):
            for part, video in decomposing.decompose(self, frames[rows], wanted).items():
                result[part][rows] = video
        return result

    @staticmethod
    def preprocess(
        frames: np.ndarray, low: float = LOW, high: float = HIGH
    ) -> dict[str, UInt8[np.ndarray, "N T H W 3"]]:
        """Algorithm 1's own split of the pixels (Figs. 6, 7): "scene", "object" and "motion" (around grey).

        Args:
            frames: clips of any length and size, uint8 (N, T, H, W, 3); scene + object = frames.
            low, high: thresholds c_l and c_h on the change of a pixel in [0, 1].

        Raises:
            InputError: what does not fit.
        """
        checks.check_frames(frames, frames_expected=None, height=None, width=None)
        return decomposing.preprocess(frames, low, high)

    @inference
    def encode(self, frames: np.ndarray, *, on_progress: OnProgress | None = None) -> ClipTokens:
        """Tokens of whole clips uint8 [0, 255] (N, T, H, W, 3), on the CPU; inverse (with a loss) of `decode`.

        moso.tasks.token_file writes them to a file.

        Raises:
            InputError: frames that do not fit.
        """
        self._check(frames)
        rows_of = chunks(len(frames), self.batch, on_progress)
        return ClipTokens.concatenate([coding.encode(self, frames[rows]) for rows in rows_of])

    @inference
    def decode(
        self,
        tokens: ClipTokens | TokenFile,
        frames: Sequence[int] | None = None,
        *,
        only: Collection[str] | None = None,
        on_progress: OnProgress | None = None,
    ) -> UInt8[np.ndarray, "N n H W 3"]:
        """Frames of tokens.

        Args:
            tokens: of N clips, or what `read_tokens` read from a file.
            frames: which frames to draw, from 0; all T when None. The decoder is blind to time: each costs the same.
            only: components to draw ("scene", "object", "motion"), of those that the model has; the others are zeros
                (Sec. C.3). None: all.
            on_progress: see the module.

        Raises:
            InputError: tokens of other grids or outside the codebook, no such frame, or no such component.
            MismatchError: a file with tokens of another codebook.
        """
        clips = self.tokens_of(tokens)
        wanted = checks.check_frame_numbers(
            "frames", range(self.clip_frames) if frames is None else frames, self.clip_frames
        )
        kept = None if only is None else checks.check_names("only", only, self.components)
        return gather(
            lambda rows: coding.decode(self, clips[rows], wanted, kept),
            len(clips),
            self.batch,
            on_progress,
        )

    @inference
    def reconstruct(
        self, frames: np.ndarray, *, on_progress: OnProgress | None = None
    ) -> UInt8[np.ndarray, "N T H W 3"]:
        """The clips, uint8 (N, T, H, W, 3), as their tokens tell them: what a perfect Stage II would draw.

        Raises:
            InputError: frames that do not fit.
        """
        self._check(frames)
        return gather(
            lambda rows: reconstructing.reconstruct(self, frames[rows]),
            len(frames),
            self.batch,
            on_progress,
        )

    def tokens_of(self, tokens: ClipTokens | TokenFile) -> ClipTokens:
        """The tokens themselves, when this model can decode them.

        Raises:
            InputError: tokens of other grids or outside the codebook.
            MismatchError: a file with tokens of another codebook.
        """
        if isinstance(tokens, TokenFile):
            if tokens.codebook_digest != self.codebook_digest:
                raise MismatchError(
                    f"tokens of codebook {tokens.codebook_digest[:12]}, this model's is {self.codebook_digest[:12]}: "
                    "decode them with the model that encoded them"
                )
            if tokens.codebook_size != self.codebook_size:
                raise MismatchError(
                    f"the token file's metadata say codebook_size = {tokens.codebook_size}, this model's codebook, of "
                    f"the same digest, has {self.codebook_size} entries"
                )
            tokens = tokens.tokens
        checks.check_tokens(tokens, self.vqvae.grids, self.codebook_size)
        return tokens

    def _check(self, frames: Any, name: str = "frames", count: int | None = None) -> None:
        expected = self.clip_frames if count is None else count
        checks.check_frames(frames, frames_expected=expected, height=self.height, width=self.width, name=name)

    def _rolled(
        self,
        frames: np.ndarray,
        length: int,
        carry: Carry,
        faded: tuple[bool, ...],
        seed: Seed,
        sampling: SamplingConfig | None,
        on_progress: OnProgress | None,
    ) -> UInt8[np.ndarray, "N V L H W 3"]:
        seeds, count = self._given(frames, seed), checks.check_count("length", length)
        checks.check_choice("carry", carry, get_args(Carry))
        settings = sampling or self.sampling
        return gather(
            lambda rows: rolling.rollout(self, frames[rows], count, carry, faded, seeds[rows], settings),
            len(frames),
            self.batch,
            on_progress,
        )

    def _trials(
        self,
        frames: np.ndarray,
        samples: int,
        length: int,
        carry: Carry,
        fade: bool,
        seeds: list[int],
        sampling: SamplingConfig,
    ) -> Iterator[tuple[slice, np.ndarray]]:
        # Apart from `trials`, whose checks are to speak when it is called.
        made = rolling.trials(self, frames, samples, length, carry, fade, seeds, sampling)
        step = inference(lambda: next(made, None))
        while (part := step()) is not None:
            yield part

    def _given(self, frames: Any, seed: Seed) -> list[int]:
        if not self.given_frames:
            raise InputError("frames: expected none, this model takes no given frames; ask it to generate")
        self._check(frames, count=self.given_frames)
        return seeds_of(seed, len(frames))

    def _videos(
        self, numbers: range, seed: int, sampling: SamplingConfig, on_progress: OnProgress | None
    ) -> Iterator[np.ndarray]:
        # Apart from `generate`, whose checks are to speak when it is called and not when the first video is taken.
        draw = inference(generating.generate)
        for rows in chunks(len(numbers), self.batch, on_progress):
            seeds = [generating.video_seed(seed, number) for number in numbers[rows]]
            yield draw(self, seeds, sampling)
