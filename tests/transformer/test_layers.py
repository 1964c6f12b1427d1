import pytest
import torch
import torch.nn.functional as F

from moso.transformer.config import TransformerConfig
from moso.transformer.layers import (
    Block,
    FactorisedBlock,
    FrameConvolution,
    GridConvolution,
    initialise,
    pointwise,
    rows,
)

CONFIG = TransformerConfig(embedding=8, hidden=16, mlp=24, heads=2, dropout=0.0, qk_norm=True)
LOCAL = TransformerConfig(embedding=8, hidden=16, mlp=24, heads=2, dropout=0.0, depthwise=True, temporal_depthwise=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_pointwise_is_a_linear_layer():
    x, weight, bias = torch.randn(3, 5, 7), torch.randn(4, 7), torch.randn(4)
    torch.testing.assert_close(pointwise(x, weight, bias), x @ weight.T + bias)
    torch.testing.assert_close(pointwise(x.transpose(0, 1), weight, None), x.transpose(0, 1) @ weight.T)


def test_pointwise_has_the_gradients_of_a_linear_layer_to_the_second_order():
    x = torch.randn(3, 5, 7, dtype=torch.float64).transpose(0, 1).requires_grad_()
    weight, bias = torch.randn(4, 7, dtype=torch.float64, requires_grad=True), torch.randn(4, dtype=torch.float64)
    bias.requires_grad_()
    assert torch.autograd.gradcheck(pointwise, (x, weight, bias))
    assert torch.autograd.gradgradcheck(pointwise, (x, weight, bias))
    # Strides as autograd makes them of an expanded gradient, and inputs that need none.
    (ours,) = torch.autograd.grad(pointwise(x.detach(), weight, None).sum(), weight)
    torch.testing.assert_close(ours, x.detach().sum((0, 1)).expand(4, 7))


@pytest.mark.parametrize("grad", [True, False])
def test_pointwise_computes_in_the_format_of_autocast_and_hands_gradients_back_in_the_weights_own(grad):
    x, weight, bias = torch.randn(6, 8), torch.randn(4, 8, requires_grad=True), torch.randn(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(grad):
        ours, theirs = pointwise(x, weight, bias), F.linear(x, weight, bias)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs)
    if grad:
        gradients = torch.autograd.grad(ours.sum(), (weight, bias)), torch.autograd.grad(theirs.sum(), (weight, bias))
        assert [one.dtype for one in gradients[0]] == [torch.float32] * 2
        torch.testing.assert_close(*gradients)


def test_rows_takes_flattened_rows_and_sends_gradients_back_to_them():
    x = torch.randn(2, 3, 4, requires_grad=True)
    at = torch.tensor([5, 0])
    assert torch.equal(rows(x, at), x.reshape(6, 4)[at])
    (gradient,) = torch.autograd.grad(rows(x, at).sum(), x)
    assert gradient.reshape(6, 4)[:, 0].tolist() == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("config", [CONFIG, LOCAL])
def test_spatial_part_does_not_cross_frames(config):
    block, x = FactorisedBlock(config), torch.randn(2, 4, 7, 16)
    changed = x.clone()
    changed[0, 1] += torch.randn(7, 16)  # the same change everywhere would vanish in the LayerNorm
    difference = block.within_frames(changed, (2, 3)) != block.within_frames(x, (2, 3))
    assert difference[0, 1].all()
    assert difference.flatten(2).any(2).sum() == 1  # that frame alone


@pytest.mark.parametrize("config", [CONFIG, LOCAL])
def test_temporal_part_does_not_cross_positions(config):
    block, x = FactorisedBlock(config), torch.randn(2, 4, 7, 16)
    changed = x.clone()
    changed[0, :, 3] += torch.randn(4, 16)
    difference = block.across_frames(changed) != block.across_frames(x)
    assert difference[0, :, 3].any(1).all()
    assert difference.any(3).any(1).sum() == 1


def test_a_factorised_block_asked_for_some_positions_gives_the_same_there():
    block, x = FactorisedBlock(CONFIG), torch.randn(2, 4, 7, 16)
    at = torch.tensor([0, 8, 55])
    torch.testing.assert_close(block(x, (2, 3), only=at), block(x, (2, 3)).reshape(-1, 16)[at])


def test_grid_convolution_is_the_depthwise_convolution_of_each_grid_and_leaves_the_rest():
    layer, x = GridConvolution(3), torch.randn(2, 4 + 6 + 2, 3)
    out = layer(x, [(2, 2), (2, 3)])
    expected = x.clone()
    weight, bias = layer.kernel.weight, layer.kernel.bias
    for sequence in range(2):
        for start, height, width in ((0, 2, 2), (4, 2, 3)):
            for i in range(height):
                for j in range(width):
                    total = bias.clone()
                    for di in (-1, 0, 1):
                        for dj in (-1, 0, 1):
                            if 0 <= i + di < height and 0 <= j + dj < width:
                                near = x[sequence, start + (i + di) * width + j + dj]
                                total = total + weight[:, 0, di + 1, dj + 1] * near
                    expected[sequence, start + i * width + j] += total
    torch.testing.assert_close(out, expected)
    assert torch.equal(out[:, 10:], x[:, 10:])


def test_frame_convolution_mixes_neighbouring_frames_at_one_position():
    layer, x = FrameConvolution(3), torch.randn(2, 5, 4, 3)
    weight, bias = layer.kernel.weight[:, 0, :, 0], layer.kernel.bias
    padded = F.pad(x, (0, 0, 0, 0, 1, 1))
    expected = x + sum(weight[:, k] * padded[:, k : k + 5] for k in range(3)) + bias
    torch.testing.assert_close(layer(x), expected)


def test_blocks_are_the_identity_at_the_start():
    for config in (CONFIG, LOCAL):
        block, factorised, x = Block(config), FactorisedBlock(config), torch.randn(2, 4, 7, 16)
        initialise(block)
        initialise(factorised)
        assert torch.equal(block(x[0], [(2, 3)]), x[0])
        assert torch.equal(factorised(x, (2, 3)), x)


def test_attention_dropout_acts_in_training_only():
    block = Block(TransformerConfig(embedding=8, hidden=16, mlp=24, heads=2, dropout=0.5))
    x = torch.randn(2, 6, 16)
    assert not torch.equal(block(x, []), block(x, []))
    block.eval()
    assert torch.equal(block(x, []), block(x, []))
