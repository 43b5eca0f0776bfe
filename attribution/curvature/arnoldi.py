"""(H)⁻¹ v within the leading eigenspace of H, found by Arnoldi iteration (Schioppa et al. 2022, ABIF).

Products of H with a Krylov space, grown from a random vector and fully orthogonalised, give H's leading eigenvalues and
eigenvectors; the inverse is taken among those alone, without damping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from attribution.curvature.gauss_newton import Vectors
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter
from attribution.tensors import write_tensors

STEPS, KEPT = 200, 100
"""Products with H, and eigenvectors kept of them (the settings of Schioppa et al. 2022)."""

LARGEST = 2**30
"""Bytes that the Krylov basis may take; larger models get fewer steps."""

_ROUNDING = 1e-6
"""Eigenvalues below this share of the largest are rounding errors of float32 products, negative ones among them."""


class Arnoldi:
    """The leading eigenpairs of H: eigenvalues (k,), largest first, orthonormal eigenvectors by block (k, *shape)."""

    def __init__(self, eigenvalues: Tensor, eigenvectors: Vectors) -> None:
        self.eigenvalues = eigenvalues
        self.eigenvectors = eigenvectors

    def inverse(self, vectors: Vectors, damping: float) -> Vectors:
        """Σ_j u_j (u_j · v) / λ_j for Q vectors by block (Q, *shape); ``damping`` is left aside, as in the paper."""
        parts = [vectors[n].flatten(1) @ u.flatten(1).T for n, u in self.eigenvectors.items()]
        shares = torch.stack(parts).sum(dim=0) / self.eigenvalues
        return {name: torch.einsum("qk,k...->q...", shares, u) for name, u in self.eigenvectors.items()}

    def to(self, device: torch.device | str) -> Arnoldi:
        """The same on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.eigenvectors.items()}
        return Arnoldi(self.eigenvalues.to(device), moved)

    def save(self, file: Path) -> None:
        """Write to a safetensors file, atomically."""
        vectors = {f"vectors|{name}": tensor for name, tensor in self.eigenvectors.items()}
        write_tensors(file, vectors | {"values": self.eigenvalues})

    @classmethod
    def load(cls, file: Path) -> Arnoldi:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        tensors = load_file(str(file))
        values = tensors.pop("values")
        return cls(values, {name.removeprefix("vectors|"): tensor for name, tensor in tensors.items()})


def fit_arnoldi(
    product: Callable[[Vectors], Vectors],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    steps: int = STEPS,
    kept: int = KEPT,
    seed: int = 0,
    device: torch.device | str = "cpu",
    reporter: Reporter = SILENT,
) -> Arnoldi:
    """Find the ``kept`` leading eigenpairs from at most ``steps`` products.

    Args:
        product: H v for vectors by block (1, *shape).
        shapes: of the blocks.
        seed: of the start vector.

    Raises:
        NumericalError: H is zero or not finite.
    """
    sizes = [torch.Size(shape).numel() for shape in shapes.values()]
    dimension = sum(sizes)
    steps = max(1, min(steps, dimension, LARGEST // (4 * dimension)))

    def by_block(flat: Tensor) -> Vectors:
        pieces = flat.split(sizes, dim=1)
        return {
            n: part.reshape(len(flat), *shape)
            for (n, shape), part in zip(shapes.items(), pieces, strict=True)
        }

    start = torch.randn(dimension, generator=torch.Generator().manual_seed(seed)).to(device)
    basis = torch.empty(steps, dimension, device=device)
    basis[0] = start / torch.linalg.vector_norm(start)
    hessenberg = torch.zeros(steps, steps, dtype=torch.float64)
    count = steps
    for step in range(steps):
        reporter(step / steps, f"Arnoldi iteration: product {step + 1} of {steps}")
        image = product(by_block(basis[step : step + 1]))
        grown = torch.cat([image[name].flatten() for name in shapes]).double()
        known = basis[: step + 1]
        length = float(torch.linalg.vector_norm(grown))
        for _ in range(2):  # once more: what rounding leaves of the first projections
            shares = known @ grown.to(known)
            hessenberg[: step + 1, step] += shares.double().cpu()
            grown = grown - (shares @ known).double()
        left = float(torch.linalg.vector_norm(grown))
        if step + 1 < steps:
            if left <= _ROUNDING * max(length, 1e-30):
                count = step + 1  # the space maps into itself: no further directions
                break
            hessenberg[step + 1, step] = left
            basis[step + 1] = (grown / left).to(basis)
    # H is symmetric: what the computed matrix lacks to that is rounding. The row after the last step is left out.
    square = hessenberg[:count, :count]
    values, vectors = torch.linalg.eigh((square + square.T) / 2)
    chosen = values.abs().topk(min(kept, count)).indices
    chosen = chosen[values[chosen] > _ROUNDING * values.abs().max()]
    if not len(chosen) or not bool(torch.isfinite(values).all()):
        raise NumericalError(
            "The curvature has no positive eigenvalue: use grad_dot, which needs no curvature."
        )
    leading = vectors[:, chosen].T.to(basis) @ basis[:count]
    return Arnoldi(values[chosen].float().to(device), by_block(leading))
