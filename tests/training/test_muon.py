import numpy as np
import pytest
import torch
from torch import nn

from moso.training.muon import ROWS, Muon, _by_squares, _directly, orthogonalise
from moso.training.random import generator


def matrices(*shape):
    return torch.randn(*shape, generator=generator(0, "matrices"))


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 4, 9), (2, 9, 4), (2, 64, 200), (2, 200, 64)])
def test_singular_values_are_drawn_to_one_and_directions_kept(shape):
    given = matrices(*shape)
    got = orthogonalise(given, 5)
    u, _, v = np.linalg.svd(given.double().numpy(), full_matrices=False)
    # In the given matrix's own singular basis the result is diagonal, with values near 1.
    inside = np.swapaxes(u, 1, 2) @ got.double().numpy() @ np.swapaxes(v, 1, 2)
    diagonal = np.diagonal(inside, axis1=1, axis2=2)
    assert np.abs(inside - np.stack([np.diag(d) for d in diagonal])).max() < 1e-4
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3


def test_a_stack_gives_what_its_matrices_give_alone():
    given = matrices(3, 4, 7)
    alone = torch.cat([orthogonalise(given[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(orthogonalise(given), alone)


def test_wide_matrices_are_brought_to_the_same_by_their_rows_products():
    # Singular values over six orders of magnitude, as gradients have them; against the iteration itself in float64.
    u, _, v = torch.linalg.svd(matrices(3, ROWS, 3 * ROWS), full_matrices=False)
    given = (u * torch.logspace(0, -6, ROWS)) @ v
    unit = given.double() / given.double().norm(dim=(1, 2), keepdim=True)
    expected = _directly(unit, 5)
    torch.testing.assert_close(_by_squares(unit, 5), expected)
    assert (orthogonalise(given).double() - expected).abs().max() < 1e-2 * expected.square().mean().sqrt()


@pytest.mark.parametrize("iterations", [5, 10])
def test_a_wide_matrix_of_low_rank_is_no_worse_off(iterations):
    # rounding gives its square small eigenvalues below 0, which must not grow
    given = matrices(1, 96, 3) @ matrices(1, 3, 300)
    u, _, v = np.linalg.svd(given.double().numpy()[0], full_matrices=False)
    got = u.T @ orthogonalise(given, iterations).double().numpy()[0] @ v.T
    assert (np.diagonal(got)[:3] > 0.6).all()
    assert np.linalg.norm(got, 2) < 1.3


def test_zero_stays_zero():
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 5)), torch.zeros(1, 3, 5))


def test_the_scale_of_a_matrix_does_not_count():
    given = matrices(1, 4, 4)
    torch.testing.assert_close(orthogonalise(given * 1e3), orthogonalise(given), atol=1e-4, rtol=1e-4)


def test_two_steps_are_as_worked_out_by_an_independent_implementation():
    # Nesterov momentum, cubic-quintic iteration on U S V^T's singular values in float64, scale of a tall matrix.
    parameter = nn.Parameter(matrices(8, 2, 1, 1))
    expected = parameter.detach().double().numpy().reshape(8, 2).copy()
    optimizer = Muon([parameter], lr=0.1, momentum=0.9, weight_decay=0.5, iterations=3)
    mean = np.zeros((8, 2))
    for step in range(2):
        gradient = torch.randn(8, 2, 1, 1, generator=generator(1, step))
        parameter.grad = gradient.clone()
        optimizer.step()
        g = gradient.double().numpy().reshape(8, 2)
        mean = 0.9 * mean + 0.1 * g
        u, s, v = np.linalg.svd(0.1 * g + 0.9 * mean, full_matrices=False)
        s = s / np.sqrt((s**2).sum())
        for _ in range(3):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * np.sqrt(8 / 2) * (u * s) @ v
    np.testing.assert_allclose(parameter.detach().numpy().reshape(8, 2), expected, atol=1e-5)


def test_parameters_of_equal_shape_move_as_if_each_were_alone():
    start, gradients = matrices(2, 4, 6), torch.randn(2, 4, 6, generator=generator(2))
    together = [nn.Parameter(start[i].clone()) for i in range(2)]
    for parameter, gradient in zip(together, gradients, strict=True):
        parameter.grad = gradient.clone()
    Muon(together, lr=0.1).step()
    for i in range(2):
        alone = nn.Parameter(start[i].clone())
        alone.grad = gradients[i].clone()
        Muon([alone], lr=0.1).step()
        torch.testing.assert_close(together[i], alone)


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="1 dimensions"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
