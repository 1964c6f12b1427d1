"""The plain reference of the benchmark computes what our models compute: only then is a ratio of times a ratio of work.

Small networks of the paper's form (both presets' grids: equal and unequal, one pool and two).
"""

import dataclasses

import pytest
import torch

from bench.plain.quantizer import OneHotQuantizer
from bench.plain.sampling import Uniform
from bench.plain.sampling import sample as plain_sample
from bench.plain.training import ssim as plain_ssim
from bench.plain.training import transformer_loss, vqvae_loss
from bench.plain.weights import plain_transformer, plain_vqvae
from moso.tokens.clip_tokens import ClipTokens, TokenGrids
from moso.tokens.store import codebook_digest
from moso.training.random import generator
from moso.training.world import Solo
from moso.transformer.config import LossConfig, SamplingConfig, TransformerConfig
from moso.transformer.filling import generators, uniforms
from moso.transformer.masking import training_mask
from moso.transformer.model import MosoTransformer
from moso.transformer.sampling import sample
from moso.vqvae.config import VQVAEConfig
from moso.vqvae.losses import LossConfig as VQVAELoss
from moso.vqvae.losses import reconstruction_terms, ssim
from moso.vqvae.model import VQVAE
from moso.vqvae.quantizer import CodebookConfig, Quantizer

SIZES = {"channels": 16, "code_dimension": 8, "codebook_size": 24, "residual_channels": 8, "attention_heads": 2}
FORMS = {
    "bair": VQVAEConfig(4, 16, 16, 4, 4, 8, 1, **SIZES),
    "kth": VQVAEConfig(6, 32, 16, 4, 8, 16, 2, **SIZES),
}
GRIDS = {"bair": TokenGrids(4, (4, 4), (4, 4), (2, 2)), "kth": TokenGrids(6, (8, 4), (4, 2), (2, 1))}
GIVEN = {"bair": (1, 0), "kth": (3, 3)}
"""K, and how many frames' motion tokens are given."""


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def vqvae(form: str) -> VQVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VQVAE(FORMS[form]).eval()


def clips(form: str, batch: int = 2) -> torch.Tensor:
    config = FORMS[form]
    shape = (batch, config.frames, 3, config.height, config.width)
    return torch.rand(shape, generator=generator(1, "clips"))


def transformer(form: str) -> MosoTransformer:
    """Branches are not zero, as they are at the start of a training: everything has an effect."""
    kept, given = GIVEN[form]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TransformerConfig(
            embedding=12, hidden=16, mlp=24, heads=2, scene_object_blocks=2, motion_blocks=2, dropout=0.0
        )
        codes = torch.randn(11, 6)
        model = MosoTransformer(config, GRIDS[form], 11, None, kept, given, codebook_digest(codes))
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def tokens(form: str, seed: int, batch: int = 2) -> ClipTokens:
    random = generator(seed, "tokens")
    names = ("scene", "object", "motion")
    return ClipTokens(*(torch.randint(0, 11, (batch, *GRIDS[form].shape(n)), generator=random) for n in names))


# Stage I


def test_the_tokens_of_a_clip_are_identical(form: str) -> None:
    ours, frames = vqvae(form), clips(form)
    found, plainly = ours.encode(frames), plain_vqvae(ours).encode(frames)
    for mine, theirs in zip((found.scene, found.object, found.motion), plainly, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=0)
    assert len(found.motion.unique()) > 3


def test_the_frames_of_tokens_are_equal(form: str) -> None:
    ours = vqvae(form)
    found = ours.encode(clips(form))
    drawn = plain_vqvae(ours).decode((found.scene, found.object, found.motion))
    torch.testing.assert_close(drawn, ours.decode(found), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ssim_weight", [0.0, 1.0])
def test_the_loss_and_the_gradients_of_a_training_step_are_equal(form: str, ssim_weight: float) -> None:
    ours, frames = vqvae(form), clips(form)
    plain = plain_vqvae(ours)
    videos = ours.videos(frames)
    quantised = ours.quantize(ours.features(videos.scene, videos.object, videos.motion))
    terms = reconstruction_terms(VQVAELoss(ssim=ssim_weight), ours.decoder(*quantised.codes), frames)
    loss = 0.25 * quantised.commitment + sum(weight * term for weight, term in terms.values())
    loss.backward()
    plainly = vqvae_loss(plain, frames, 0.25, ssim_weight)
    plainly.backward()
    torch.testing.assert_close(plainly, loss)
    for name in ("scene_encoder", "object_encoder", "motion_encoder", "decoder"):
        pairs = zip(plain.get_submodule(name).parameters(), ours.get_submodule(name).parameters(), strict=True)
        for theirs, mine in pairs:
            torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-3, atol=1e-5)


def test_ssim_is_ours() -> None:
    a, b = torch.rand(3, 3, 20, 17, generator=generator(2)), torch.rand(3, 3, 20, 17, generator=generator(3))
    torch.testing.assert_close(plain_ssim(a, b), ssim(a, b), rtol=1e-4, atol=1e-6)


def test_one_update_of_the_moving_averages_is_ours() -> None:
    """From averages that agree (sums = use * codebook); the smoothing of the research code is off, and every code is
    in use, so that none decays."""
    ours = Quantizer(6, 4)
    ours.weight.fill_(1)
    ours.use.copy_(torch.tensor([3.0, 2.0, 5.0, 1.0, 4.0, 2.0]))
    plain = OneHotQuantizer(6, 4, smoothing=0.0).train()
    plain.codebook.copy_(ours.codebook)
    plain.use.copy_(ours.use)
    plain.sums.copy_(ours.use[:, None] * ours.codebook)
    vectors = torch.randn(40, 4, generator=generator(4))
    found = ours.find(vectors)
    ours.observe_(vectors, found)
    ours.update_(CodebookConfig(smoothing=0.0), Solo())
    _, theirs, _ = plain(vectors.T[None, :, :, None])
    torch.testing.assert_close(theirs.flatten(), found, rtol=0, atol=0)
    torch.testing.assert_close(plain.codebook, ours.codebook)
    torch.testing.assert_close(plain.use, ours.use)


def test_training_updates_the_codebook_three_times_a_step_and_evaluation_never(form: str) -> None:
    ours = vqvae(form)
    ours.quantizer.use.fill_(1)
    ours.train()
    plain, frames = plain_vqvae(ours), clips(form)
    plain(frames)
    assert float(plain.quantizer.use.sum()) != 24
    # three decays of 24 uses, and what each adds: its own component's positions
    sizes = [2 * z[0].numel() for z in plain.encode(frames)]
    expected = 24.0
    for size in sizes:
        expected = 0.99 * expected + 0.01 * size
    assert float(plain.quantizer.use.sum()) == pytest.approx(expected, rel=1e-5)
    before = plain.eval().quantizer.codebook.clone()
    plain(frames)
    torch.testing.assert_close(plain.quantizer.codebook, before, rtol=0, atol=0)


# Stage II


def test_logits_of_all_three_networks_are_equal(form: str) -> None:
    ours, clip, pseudo = transformer(form), tokens(form, 1), tokens(form, 2)
    plain = plain_transformer(ours)
    for mine, theirs in zip(
        ours.scene_object_logits(pseudo.scene, pseudo.object),
        plain.scene_object_logits(pseudo.scene, pseudo.object),
        strict=True,
    ):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-4)
    guidance = ours.guidance(clip.scene, clip.object)
    plainly = plain.guidance(clip.scene, clip.object)
    torch.testing.assert_close(plainly, guidance.frames, rtol=1e-4, atol=1e-4)
    mask = torch.rand(clip.motion.shape, generator=generator(5)) < 0.5
    motion = clip.motion.masked_fill(mask, ours.mask)
    everywhere = plain.motion_logits(motion, plainly)
    assert everywhere.shape == (*motion.shape, 11)
    torch.testing.assert_close(everywhere[mask], ours.motion_logits(motion, guidance), rtol=1e-4, atol=1e-4)


def test_the_loss_and_the_gradients_of_stage_ii_are_equal(form: str) -> None:
    ours, target, pseudo = transformer(form), tokens(form, 1), tokens(form, 2)
    plain = plain_transformer(ours)
    # some tokens as in the pseudo clip, so that both weights count
    target = dataclasses.replace(target, scene=torch.where(target.scene < 6, pseudo.scene, target.scene))
    given = GIVEN[form][1]
    masks = [training_mask(GRIDS[form].frames, GRIDS[form].motion, given, generator(6, i)) for i in range(2)]
    mask = torch.stack(masks)
    config = LossConfig()

    weight = {}
    losses = []
    for name, logits in zip(("scene", "object"), ours.scene_object_logits(pseudo.scene, pseudo.object), strict=True):
        weight[name] = torch.where(getattr(target, name) == getattr(pseudo, name), 1.0, 5.0)
        each = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), getattr(target, name), reduction="none")
        losses.append((each * weight[name]).sum() / weight[name].sum())
    hidden = target.motion.masked_fill(mask, ours.mask)
    logits = ours.motion_logits(hidden, ours.guidance(target.scene, target.object))
    losses.append(torch.nn.functional.cross_entropy(logits, target.motion[mask]))
    loss = sum(losses) / 3
    loss.backward()

    clip = (target.scene, target.object, target.motion)
    plainly = transformer_loss(
        plain, clip, pseudo.scene, pseudo.object, mask, config.changed_weight, config.unchanged_weight
    )
    plainly.backward()
    torch.testing.assert_close(plainly, loss)
    for theirs, mine in zip(plain.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, mine.grad, rtol=1e-3, atol=1e-5)


def test_sampling_draws_the_same_tokens_from_the_same_random_numbers(form: str) -> None:
    ours, pseudo = transformer(form), tokens(form, 2, batch=3)
    settings = SamplingConfig(steps=5, confidence_noise=3.0)
    seeds, given = [3, 4, 5], pseudo.motion[:, : GIVEN[form][1]]
    found = sample(ours, pseudo.scene, pseudo.object, given, settings, seeds)

    random, cpu = generators(seeds, 3), torch.device("cpu")
    grids = GRIDS[form]
    numbers = Uniform(
        uniforms(grids.scene, random, cpu),
        uniforms(grids.object, random, cpu),
        uniforms((5, 2, *grids.shape("motion")), random, cpu),
    )
    plainly = plain_sample(plain_transformer(ours), pseudo.scene, pseudo.object, given, 5, 3.0, numbers)
    for mine, theirs in zip((found.scene, found.object, found.motion), plainly, strict=True):
        torch.testing.assert_close(theirs, mine, rtol=0, atol=0)
    assert int(found.motion.max()) < 11
    # without numbers it draws torch's own: other tokens, all of them filled in, the given ones kept
    torch.manual_seed(0)
    free = plain_sample(plain_transformer(ours), pseudo.scene, pseudo.object, given, 5, 3.0)[2]
    assert int(free.max()) < 11
    torch.testing.assert_close(free[:, : given.shape[1]], given, rtol=0, atol=0)


def test_settings_that_the_plain_reference_does_not_have_are_refused() -> None:
    other = VQVAE(dataclasses.replace(FORMS["bair"], merge="sum"))
    with pytest.raises(ValueError, match="merge = 'sum'"):
        plain_vqvae(other)
    one = transformer("bair")
    one.config = dataclasses.replace(one.config, qk_norm=True)
    with pytest.raises(ValueError, match="qk_norm"):
        plain_transformer(one)
