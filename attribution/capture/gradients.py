"""Per-example gradients of one block of parameters, kept in the smallest form that answers questions about them.

A block is the trained parameters of one module. Its per-example gradient is a matrix (O, I) (O outputs, I inputs,
plus one column for the bias) or, for elementwise layers, a vector (P,). For a matrix block

    G_b = Σ_t left[b, t] ⊗ right[b, t]

with t running over positions (tokens, pixels, calls of the module), so that dot products, norms and projections
need no (B, O, I) tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_DENSE_LIMIT = 64_000_000
"""Numbers in a (B, O, I) tensor up to which forming it beats contracting every query with every position."""


class BlockGradient(Protocol):
    """Gradients of B examples with respect to one block."""

    def dense(self) -> Tensor:
        """The gradients themselves: (B, O, I) or (B, P)."""
        ...

    def dot(self, vectors: Tensor) -> Tensor:
        """Inner products with Q gradients of the same block, (Q, O, I) or (Q, P): shape (B, Q)."""
        ...

    def norm_squared(self) -> Tensor:
        """Squared Euclidean norms (B,)."""
        ...

    def project(self, left: Tensor | None, right: Tensor | None) -> Tensor:
        """Flattened ``left @ G_b @ rightᵀ``, shape (B, p·q); None stands for the identity."""
        ...


@dataclass
class FactoredGradient:
    """Gradient of a matrix block from its two factors: left (B, T, O) and right (B, T, I)."""

    left: Tensor
    right: Tensor

    def dense(self) -> Tensor:
        return torch.bmm(self.left.transpose(1, 2), self.right)

    def dot(self, vectors: Tensor) -> Tensor:
        queries, rows, columns = vectors.shape
        examples, positions, _ = self.left.shape
        if positions > 1 and queries > 1 and examples * rows * columns <= _DENSE_LIMIT:
            return self.dense().flatten(1) @ vectors.flatten(1).T
        if rows <= columns:  # contract the wider side with the query first
            mixed = torch.einsum("bti,qoi->btqo", self.right, vectors)
            return torch.einsum("btqo,bto->bq", mixed, self.left)
        mixed = torch.einsum("bto,qoi->btqi", self.left, vectors)
        return torch.einsum("btqi,bti->bq", mixed, self.right)

    def norm_squared(self) -> Tensor:
        _, positions, rows = self.left.shape
        if positions * positions > rows * self.right.shape[2]:
            return self.dense().square().sum(dim=(1, 2))
        gram = torch.bmm(self.left, self.left.transpose(1, 2)) * torch.bmm(
            self.right, self.right.transpose(1, 2)
        )
        return gram.sum(dim=(1, 2)).clamp_min(0.0)

    def project(self, left: Tensor | None, right: Tensor | None) -> Tensor:
        narrow_left = self.left if left is None else self.left @ left.T
        narrow_right = self.right if right is None else self.right @ right.T
        return torch.bmm(narrow_left.transpose(1, 2), narrow_right).flatten(1)


@dataclass
class EmbeddingGradient:
    """Gradient of an embedding table (V, D): row ids (B, T) receive the output gradients right (B, T, D)."""

    ids: Tensor
    right: Tensor
    rows: int

    def dense(self) -> Tensor:
        examples, _, width = self.right.shape
        result = self.right.new_zeros(examples, self.rows, width)
        index = self.ids.unsqueeze(-1).expand(-1, -1, width)
        return result.scatter_add_(1, index, self.right)

    def dot(self, vectors: Tensor) -> Tensor:
        return torch.stack([(vector[self.ids] * self.right).sum(dim=(1, 2)) for vector in vectors], dim=1)

    def norm_squared(self) -> Tensor:
        same = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).to(self.right.dtype)
        gram = torch.bmm(self.right, self.right.transpose(1, 2)) * same
        return gram.sum(dim=(1, 2)).clamp_min(0.0)

    def project(self, left: Tensor | None, right: Tensor | None) -> Tensor:
        narrow = self.right if right is None else self.right @ right.T
        if left is None:
            return EmbeddingGradient(self.ids, narrow, self.rows).dense().flatten(1)
        return torch.bmm(left.T[self.ids].transpose(1, 2), narrow).flatten(1)


@dataclass
class DenseGradient:
    """Gradient that is stored as it is: values (B, P) or (B, O, I)."""

    values: Tensor

    def dense(self) -> Tensor:
        return self.values

    def dot(self, vectors: Tensor) -> Tensor:
        return self.values.flatten(1) @ vectors.flatten(1).T

    def norm_squared(self) -> Tensor:
        return self.values.flatten(1).square().sum(dim=1)

    def project(self, left: Tensor | None, right: Tensor | None) -> Tensor:
        values = self.values if self.values.dim() == 3 else self.values.unsqueeze(1)
        if left is not None:
            values = torch.einsum("po,boi->bpi", left, values)
        if right is not None:
            values = torch.einsum("qi,bpi->bpq", right, values)
        return values.flatten(1)


def joined(parts: list[BlockGradient]) -> BlockGradient:
    """The gradient of a module that ran several times in one forward pass: contributions add up."""
    if len(parts) == 1:
        return parts[0]
    factored = [part for part in parts if isinstance(part, FactoredGradient)]
    if len(factored) == len(parts):
        return FactoredGradient(
            torch.cat([part.left for part in factored], dim=1),
            torch.cat([part.right for part in factored], dim=1),
        )
    looked_up = [part for part in parts if isinstance(part, EmbeddingGradient)]
    if len(looked_up) == len(parts):
        return EmbeddingGradient(
            torch.cat([part.ids for part in looked_up], dim=1),
            torch.cat([part.right for part in looked_up], dim=1),
            looked_up[0].rows,
        )
    return DenseGradient(torch.stack([part.dense() for part in parts]).sum(dim=0))
