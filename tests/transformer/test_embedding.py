import math

import torch

from moso.training.optimizer import muon_names
from moso.transformer.config import TransformerConfig
from moso.transformer.embedding import LOOK_UPS, Positions, Vocabulary, sinusoid
from moso.transformer.layers import Pointwise

SMALL = {"embedding": 8, "hidden": 16, "mlp": 24, "heads": 2, "dropout": 0.0}


def test_projecting_the_table_once_equals_projecting_each_embedding_with_its_position():
    torch.manual_seed(0)
    vocabulary, tokens, positions = (
        Vocabulary(TransformerConfig(**SMALL), 5, None),
        torch.tensor([4, 5, 0]),
        torch.randn(3, 8),
    )
    expected = vocabulary.project(vocabulary.embedding(tokens) + positions)
    torch.testing.assert_close(vocabulary.table().look_up(tokens) + vocabulary.place(positions), expected)


def test_looking_up_before_projecting_gives_the_same_vectors_and_gradients():
    torch.manual_seed(0)
    vocabulary, further = Vocabulary(TransformerConfig(**SMALL), 40, None), Pointwise(16, 16, bias=False)
    few, many = torch.tensor([[4, 40], [0, 4]]), torch.arange(41)
    assert LOOK_UPS * few.numel() < 41 <= LOOK_UPS * many.numel()
    for through in (None, further):
        found = vocabulary.table().look_up(few, through)
        gradients = torch.autograd.grad(found.square().sum(), [vocabulary.embedding.weight, vocabulary.project.weight])
        expected = vocabulary.table().look_up(many, through)[few]
        torch.testing.assert_close(found, expected)
        wanted = torch.autograd.grad(expected.square().sum(), [vocabulary.embedding.weight, vocabulary.project.weight])
        torch.testing.assert_close(gradients, wanted)


def test_with_code_embedding_equal_codes_start_alike_and_the_mask_is_none_of_them():
    torch.manual_seed(0)
    codes = torch.randn(5, 3)
    codes[3] = codes[1]
    vocabulary = Vocabulary(TransformerConfig(**SMALL, code_embedding=True), 5, codes)
    torch.nn.init.zeros_(vocabulary.embedding.weight)
    torch.nn.init.zeros_(vocabulary.output.weight)
    table = vocabulary.table().rows()
    assert torch.equal(table[1], table[3])
    assert not torch.allclose(table[1], table[2])
    torch.testing.assert_close(table[vocabulary.mask], vocabulary.project.bias)
    logits = vocabulary.logits(torch.randn(2, 16))
    torch.testing.assert_close(logits[:, 1] - vocabulary.output.bias[1], logits[:, 3] - vocabulary.output.bias[3])


def test_code_vectors_are_stored_but_not_trained():
    vocabulary = Vocabulary(TransformerConfig(**SMALL, code_embedding=True), 5, torch.randn(5, 3))
    assert "codes" in vocabulary.state_dict()
    assert "codes" not in dict(vocabulary.named_parameters())


def test_the_output_table_is_not_trained_by_muon():
    vocabulary = Vocabulary(TransformerConfig(**SMALL), 5, None)
    assert muon_names(vocabulary) == {"project.weight"}


def test_sinusoid_by_hand():
    table = sinusoid(3, 4)
    assert table[0].tolist() == [0, 1, 0, 1]
    expected = torch.tensor([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)])
    torch.testing.assert_close(table[2], expected)


def test_every_place_of_a_grid_has_its_own_position():
    # The released code's knew only the column.
    for kind in ("sinusoidal", "learned"):
        torch.manual_seed(0)
        positions = Positions(TransformerConfig(**SMALL, positions=kind), (3, 4))()
        assert positions.shape == (12, 8)
        assert len({tuple(row) for row in positions.tolist()}) == 12
