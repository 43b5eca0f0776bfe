"""Natural steps give what the damped inverse gives, whatever directions are left out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attribution.curvature import EKFAC
from attribution.curvature.ekfac import EigenBlock
from attribution.curvature.shrinkage import Shrinkage
from attribution.errors import NumericalError

DAMPING = 0.3


def orthogonal(size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0].float()


def blocks() -> dict[str, EigenBlock]:
    """With and without bases, with directions of no curvature in rows, columns and single places."""
    torch.manual_seed(0)
    matrix = torch.rand(6, 9) ** 4
    matrix[:2] = 0.0
    matrix[:, 5:] *= 1e-9
    matrix[4, 1] = 0.0
    return {
        "matrix": EigenBlock(orthogonal(6), orthogonal(9), matrix),
        "no left": EigenBlock(None, orthogonal(9), matrix),
        "no right": EigenBlock(orthogonal(6), None, matrix),
        "vector": EigenBlock(None, orthogonal(5), torch.tensor([0.0, 1e-12, 0.1, 1.0, 50.0])),
        "diagonal": EigenBlock(None, None, torch.tensor([0.0, 0.2, 3.0])),
        "flat": EigenBlock(orthogonal(3), orthogonal(4), torch.zeros(3, 4)),
    }


def test_it_is_the_damped_inverse_times_the_damping() -> None:
    curvature = EKFAC(blocks())
    vectors = {name: torch.randn(block.eigenvalues.shape) for name, block in curvature.blocks.items()}
    expected = curvature.inverse({name: v.unsqueeze(0) for name, v in vectors.items()}, DAMPING)
    found = Shrinkage(curvature, DAMPING)(vectors)
    assert found.keys() == vectors.keys()
    for name, vector in found.items():
        torch.testing.assert_close(vector, DAMPING * expected[name][0], rtol=1e-5, atol=3e-6)
    torch.testing.assert_close(found["flat"], vectors["flat"], rtol=0, atol=0)


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    curvature = EKFAC(blocks())
    vectors = {name: torch.randn(block.eigenvalues.shape) for name, block in curvature.blocks.items()}
    vectors["matrix"][2, 2] = torch.nan
    with pytest.raises(NumericalError, match="not finite: choose fewer or other training examples"):
        Shrinkage(curvature, DAMPING)(vectors)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_curvature_that_says_nothing_is_an_error(value: float) -> None:
    flat = EKFAC({"flat": EigenBlock(orthogonal(3), orthogonal(4), torch.full((3, 4), value))})
    with pytest.raises(NumericalError, match="zero or not finite"):
        Shrinkage(flat, 0.03 * flat.mean_eigenvalue())
