"""The codebook: search, one EMA update a step, restarts, and what is never built."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from moso.training.random import generator
from moso.training.world import Solo
from moso.vqvae.quantizer import BLOCK, CODES, CodebookConfig, Quantizer, nearest

SOLO = Solo()


def _normal(name, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=generator(0, name), dtype=dtype)


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def _quantizer(codes, use=None, parts=1):
    quantizer = Quantizer(len(codes), len(codes[0]), parts)
    quantizer.codebook.copy_(torch.tensor(codes))
    if use is not None:
        quantizer.weight.fill_(1)
        quantizer.use.copy_(torch.tensor(use))
    return quantizer


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("block", [BLOCK, 1000, 1])
def test_search_equals_brute_force_in_float64(block, offset):
    vectors, codes = _normal("vectors", 500, 8) + offset, _normal("codes", 96, 8) + offset
    distances = (vectors.double()[:, None] - codes.double()[None]).square().sum(-1)
    assert torch.equal(nearest(vectors, codes, block), distances.argmin(1))


def test_codes_taken_in_parts_give_what_all_at_once_give():
    vectors, codes = _normal("vectors", 4000, 8), _normal("codes", 2 * CODES + 100, 8)
    distances = (vectors.double()[:, None] - codes.double()[None]).square().sum(-1)
    assert torch.equal(nearest(vectors, codes), distances.argmin(1))


def test_the_first_of_equal_codes_in_different_parts_is_taken():
    codes = _normal("codes", 2 * CODES, 8)
    codes[CODES + 3] = codes[3]
    assert nearest(codes[[CODES + 3, CODES + 4]], codes).tolist() == [3, CODES + 4]


def test_the_first_of_equal_codes_is_taken():
    codes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[0.9, 0.1]]), codes).tolist() == [1]


def test_search_is_not_rounded_by_autocast():
    codes = torch.tensor([[1.0], [1.0 + 2**-12]])
    vectors = torch.tensor([[1.0 + 2**-12]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nearest(vectors, codes).tolist() == [1]


def test_no_array_of_positions_by_entries_is_ever_built():
    positions, size, dimension, block = 4096, 512, 8, 1 << 14
    quantizer = Quantizer(size, dimension)
    vectors = _normal("many", positions, dimension)
    with LargestTensor() as largest:
        tokens = nearest(vectors, quantizer.codebook, block)
        quantizer.observe_(vectors, tokens)
        quantizer.update_(CodebookConfig(), SOLO)
    assert largest.elements <= max(block, positions * dimension)
    assert largest.elements < positions * size / 16


def test_the_default_block_bounds_the_search_too():
    positions, size = 3000, 4096
    with LargestTensor() as largest:
        nearest(_normal("p", positions, 4), _normal("c", size, 4))
    assert largest.elements <= BLOCK < positions * size


def test_codes_are_the_codebooks_rows():
    quantizer = Quantizer(5, 3)
    tokens = torch.tensor([[[0, 4], [2, 2]]])
    codes = quantizer.codes(tokens)
    assert codes.shape == (1, 3, 2, 2)
    assert torch.equal(codes[0, :, 0, 1], quantizer.codebook[4])
    assert torch.equal(codes[0, :, 1, 1], quantizer.codebook[2])


def test_the_ema_update_equals_one_worked_out_by_hand():
    """decay 0.75, no smoothing; entry 0 at 1 with use 4, entry 1 at 10 with use 2, entry 2 at -5 with use 1.

    Sums so far are use x code: 4, 20, -5. The step sees 3 and 5 at entry 0, 12 at entry 1, nothing at entry 2.
    use:  0.75 x 4 + 0.25 x 2 = 3.5;    0.75 x 2 + 0.25 x 1 = 1.75;     0.75 x 1 = 0.75
    sums: 0.75 x 4 + 0.25 x 8 = 5;      0.75 x 20 + 0.25 x 12 = 18;     -3.75
    code: 5 / 3.5 = 10/7;               18 / 1.75 = 72/7;               -5
    """
    quantizer = _quantizer([[1.0], [10.0], [-5.0]], use=[4.0, 2.0, 1.0])
    quantizer.observe_(torch.tensor([[3.0], [12.0], [5.0]]), torch.tensor([0, 1, 0]))
    figures = quantizer.update_(CodebookConfig(decay=0.75, smoothing=0), SOLO)
    assert quantizer.use.tolist() == [3.5, 1.75, 0.75]
    assert torch.allclose(quantizer.codebook.flatten(), torch.tensor([10 / 7, 72 / 7, -5.0]), rtol=1e-6)
    assert figures["codes_used"] == 2
    # uses 2/3 and 1/3
    assert figures["perplexity"] == pytest.approx(math.exp(math.log(3) - 2 / 3 * math.log(2)))


def test_the_first_update_is_debiased():
    """From averages of zero, one step puts an entry on the mean of its vectors, however slow the decay."""
    quantizer = _quantizer([[0.0, 0.0], [9.0, 9.0]])
    quantizer.observe_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 0]))
    quantizer.update_(CodebookConfig(decay=0.99, smoothing=0), SOLO)
    assert torch.allclose(quantizer.codebook, torch.tensor([[2.0, 3.0], [9.0, 9.0]]))
    assert float(quantizer.use[0] / quantizer.weight) == pytest.approx(2)


def test_smoothing_slows_an_entry_by_its_share():
    """decay 0.5, uses 1 and 3 stay so (total 4); smoothed by 1: (1 + 1) / (4 + 2) x 4 = 4/3, (3 + 1) / 6 x 4 = 8/3.

    Entry 0 sees 2 once: 0 + 0.5 / (4/3) x 2 = 0.75. Entry 1 sees 1 three times: 0 + 0.5 / (8/3) x 3 = 0.5625.
    """
    quantizer = _quantizer([[0.0], [0.0]], use=[1.0, 3.0])
    quantizer.observe_(torch.tensor([[2.0], [1.0], [1.0], [1.0]]), torch.tensor([0, 1, 1, 1]))
    quantizer.update_(CodebookConfig(decay=0.5, smoothing=1.0), SOLO)
    assert torch.allclose(quantizer.codebook.flatten(), torch.tensor([0.75, 0.5625]))


def test_an_unused_code_does_not_decay_to_zero():
    quantizer = Quantizer(16, 4)
    before = quantizer.codebook.clone()
    for _ in range(2000):
        quantizer.observe_(torch.ones(3, 4), torch.tensor([5, 5, 6]))
        quantizer.update_(CodebookConfig(), SOLO)
    unused = [i for i in range(16) if i not in (5, 6)]
    assert torch.equal(quantizer.codebook[unused], before[unused])
    assert torch.allclose(quantizer.codebook[[5, 6]], torch.ones(2, 4), atol=1e-4)


def test_repeated_updates_equal_the_released_rule_where_that_does_not_collapse():
    """Against e = debiased sum / debiased count in float64, every entry used at every step, 50 steps."""
    decay, quantizer = 0.9, Quantizer(3, 2)
    counts, sums = torch.zeros(3).double(), torch.zeros(3, 2).double()
    for step in range(50):
        vectors = _normal(f"step {step}", 9, 2)
        tokens = torch.arange(9) % 3
        quantizer.observe_(vectors, tokens)
        quantizer.update_(CodebookConfig(decay=decay, smoothing=0), SOLO)
        counts = decay * counts + (1 - decay) * 3
        sums = decay * sums + (1 - decay) * torch.stack([vectors.double()[tokens == k].sum(0) for k in range(3)])
        assert torch.allclose(quantizer.codebook.double(), sums / counts[:, None], atol=1e-5)


def test_weighted_positions_count_as_often():
    once, twice = _quantizer([[0.0], [1.0]]), _quantizer([[0.0], [1.0]])
    vectors, tokens = torch.tensor([[0.5], [3.0]]), torch.tensor([0, 1])
    once.observe_(vectors, tokens, weight=2.0)
    for _ in range(2):
        twice.observe_(vectors, tokens)
    for quantizer in (once, twice):
        quantizer.update_(CodebookConfig(), SOLO)
    assert torch.equal(once.codebook, twice.codebook)
    assert torch.equal(once.use, twice.use)


def test_entries_below_a_share_of_the_mean_use_are_dead():
    quantizer = _quantizer([[0.0]] * 4, use=[10.0, 0.1, 0.0, 1.9])
    assert quantizer.dead(CodebookConfig(restart_below=0.1)).tolist() == [1, 2]
    assert quantizer.dead(CodebookConfig(restart_below=0)).tolist() == []


def test_a_replaced_entry_is_not_dead_again():
    quantizer = _quantizer([[0.0]] * 4, use=[10.0, 0.0, 0.0, 2.0])
    quantizer.replace_(torch.tensor([1, 2]), torch.tensor([[5.0], [6.0]]))
    assert quantizer.codebook.flatten().tolist() == [0.0, 5.0, 6.0, 0.0]
    assert quantizer.use.tolist() == [10.0, 3.0, 3.0, 2.0]
    assert quantizer.dead(CodebookConfig()).tolist() == []


def test_statistics_of_two_workers_make_the_update_of_one(workers):
    vectors, tokens = _normal("all", 40, 3), torch.arange(40) % 7
    one = Quantizer(8, 3)
    start = one.codebook.clone()
    one.observe_(vectors, tokens)
    figures = one.update_(CodebookConfig(), SOLO)

    def work(world):
        quantizer = Quantizer(8, 3)
        quantizer.codebook.copy_(start)
        mine = slice(0, 10) if world.rank == 0 else slice(10, 40)
        quantizer.observe_(vectors[mine], tokens[mine])
        return quantizer, quantizer.update_(CodebookConfig(), world)

    for quantizer, theirs in workers(2).run(work):
        assert torch.allclose(quantizer.codebook, one.codebook, atol=1e-6)
        assert torch.equal(quantizer.use, one.use)
        assert theirs == pytest.approx(figures)


# a codebook in parts


def test_search_in_a_part_finds_its_entries_alone():
    quantizer = Quantizer(6, 1, parts=3)
    quantizer.codebook.copy_(torch.tensor([[0.0], [1.0], [0.0], [2.0], [5.0], [0.1]]))
    vectors = torch.tensor([[0.1], [1.6], [4.0]])
    assert [quantizer.find(vectors, part).tolist() for part in range(3)] == [[0, 1, 1], [2, 3, 3], [5, 5, 4]]
    grid = torch.tensor([0.1, 1.6]).view(1, 1, 1, 2)
    assert quantizer.search(grid, 1).tolist() == [[[2, 3]]]


def test_parts_learn_like_codebooks_of_their_own():
    """One update of the whole against one of each part: smoothing too, which counts a codebook's total use."""
    config = CodebookConfig(decay=0.9, smoothing=0.5)
    whole, apart = Quantizer(8, 3, parts=2), [Quantizer(4, 3), Quantizer(4, 3)]
    for quantizer, entries in zip(apart, whole.parts, strict=True):
        quantizer.codebook.copy_(whole.codebook[entries])
    for step in range(5):
        for part, (quantizer, count) in enumerate(zip(apart, (10, 60), strict=True)):
            vectors = _normal(f"{step} {part}", count, 3)
            tokens = whole.find(vectors, part)
            assert torch.equal(tokens, quantizer.find(vectors) + 4 * part)
            whole.observe_(vectors, tokens)
            quantizer.observe_(vectors, tokens - 4 * part)
            quantizer.update_(config, SOLO)
        whole.update_(config, SOLO)
        assert torch.allclose(whole.codebook, torch.cat([q.codebook for q in apart]), atol=1e-6)
        assert torch.allclose(whole.use, torch.cat([q.use for q in apart]))


def test_an_entry_is_dead_and_restarts_by_the_mean_use_of_its_part():
    """Means 10 and 0.1: the second part's 0.1 would be dead in a shared codebook (mean 5.05, a tenth of it 0.505)."""
    use = [19.5, 0.5, 0.195, 0.005]
    shared, parted = _quantizer([[0.0]] * 4, use=use), _quantizer([[0.0]] * 4, use=use, parts=2)
    config = CodebookConfig(restart_below=0.1)
    assert shared.dead(config).tolist() == [1, 2, 3]
    assert parted.dead(config).tolist() == [1, 3]
    parted.replace_(torch.tensor([1, 3]), torch.tensor([[5.0], [6.0]]))
    assert parted.use.tolist() == pytest.approx([19.5, 10.0, 0.195, 0.1])
