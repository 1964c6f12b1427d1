"""FLOPs and bytes of operations whose sizes are known, by hand."""

import torch
import torch.nn.functional as F

from bench.counting import count

FLOAT = 4


def test_a_matrix_product_has_two_operations_a_term_and_moves_three_matrices() -> None:
    a, b = torch.ones(64, 32), torch.ones(32, 16)
    flops, moved = count(lambda: a @ b)
    assert flops == 2 * 64 * 32 * 16
    assert moved == FLOAT * (64 * 32 + 32 * 16 + 64 * 16)


def test_its_gradient_has_twice_as_many() -> None:
    a, b = torch.ones(64, 32, requires_grad=True), torch.ones(32, 16, requires_grad=True)
    flops, _ = count(lambda: (a @ b).sum().backward())
    assert flops == 3 * 2 * 64 * 32 * 16


def test_views_move_nothing() -> None:
    x = torch.ones(8, 6)
    assert count(lambda: x.t()[1:].unsqueeze(0)) == (0, 0)


def test_an_operation_in_place_reads_both_and_writes_one() -> None:
    a, b = torch.ones(100), torch.ones(100)
    assert count(lambda: a.add_(b)) == (0, FLOAT * 300)


def test_of_an_expanded_tensor_only_what_there_is_is_read() -> None:
    a, one = torch.ones(10, 10), torch.ones(1)
    _, moved = count(lambda: a + one.expand(10, 10))
    assert moved == FLOAT * (100 + 1 + 100)


def test_fused_attention_on_a_cpu_is_counted_as_its_two_products() -> None:
    q, k, v = (torch.ones(2, 3, 10, 8) for _ in range(3))
    flops, _ = count(lambda: F.scaled_dot_product_attention(q, k, v))
    assert flops == 2 * (2 * (2 * 3) * 10 * 10 * 8)
