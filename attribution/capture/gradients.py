"""Per-example gradients of one block of parameters, kept in the smallest form that answers questions about them.

A block is the trained parameters of one module. Its per-example gradient is a matrix (O, I) (O outputs, I inputs,
plus one column for the bias) or, for elementwise layers, a vector (P,). For a matrix block

    G_b = Σ_t left[b, t] ⊗ right[b, t]

with t running over positions (tokens, pixels, calls of the module), so that dot products, norms and projections
need no (B, O, I) tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

Side = Tensor | None
"""What is kept of one side of a matrix block: rows of a float matrix (p, size) to multiply with, the numbers (p,) of
the coordinates to pick (int64), or None for all of it."""

_DENSE_LIMIT = 64_000_000
"""Numbers in a (B, O, I) tensor up to which forming it beats contracting every query with every position."""


class BlockGradient(Protocol):
    """Gradients of B examples with respect to one block."""

    def dense(self) -> Tensor:
        """The gradients themselves: (B, O, I) or (B, P)."""
        ...

    def sum_of_squares(self, left: Side, right: Side) -> Tensor:
        """Σ_b (left @ G_b @ rightᵀ)², elementwise: (p, q), or (q,) for a vector block."""
        ...

    def memory(self) -> int:
        """Bytes that it takes, what is formed from it and kept included."""
        ...

    def dot(self, vectors: Tensor) -> Tensor:
        """Inner products with Q gradients of the same block, (Q, O, I) or (Q, P): shape (B, Q)."""
        ...

    def combine(self, weights: Tensor) -> Tensor:
        """Q weighted sums Σ_b weights[b, q] G_b of the gradients: (Q, O, I) or (Q, P)."""
        ...

    def norm_squared(self) -> Tensor:
        """Squared Euclidean norms (B,)."""
        ...

    def project(self, left: Side, right: Side) -> Tensor:
        """Flattened ``left @ G_b @ rightᵀ``, shape (B, p·q). A vector block is one row."""
        ...


def narrowed(values: Tensor, side: Side) -> Tensor:
    """``values @ sideᵀ`` over the last dimension, (..., size) -> (..., p)."""
    if side is None:
        return values
    return values.index_select(-1, side) if side.dtype == torch.int64 else values @ side.T


def lengths_of(rows: Tensor) -> Tensor:
    """Euclidean norms (B,) of gradients (B, ...)."""
    norms: Tensor = torch.linalg.vector_norm(rows.flatten(1), dim=1)
    return norms


class Unfolding(Protocol):
    """A right factor (B, T, I) that is made anew each time it is looked at, from something smaller."""

    @property
    def columns(self) -> int:
        """I."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of what it is made from."""
        ...

    def unfolded(self) -> Tensor:
        """The factor (B, T, I)."""
        ...

    def examples(self, rows: Tensor) -> Unfolding:
        """The same of some examples (n,) of the batch."""
        ...


@dataclass
class FactoredGradient:
    """Gradient of a matrix block from its two factors: left (B, T, O) and right (B, T, I).

    ``source`` is the right factor or what it is unfolded from: the patches of a convolution take many times the room
    of its input, and formed just before they are multiplied they are still in the processor's cache.
    ``padded`` says that positions without gradient may be padding (tokens), and not merely silent (pixels).
    """

    left: Tensor
    source: Tensor | Unfolding
    padded: bool = True
    _formed: Tensor | None = field(default=None, repr=False)

    @property
    def right(self) -> Tensor:
        """The right factor (B, T, I)."""
        return self.source if isinstance(self.source, Tensor) else self.source.unfolded()

    @property
    def columns(self) -> int:
        """I, the length of a row of the right factor."""
        return self.source.shape[2] if isinstance(self.source, Tensor) else self.source.columns

    def examples(self, rows: Tensor) -> FactoredGradient:
        """The gradients of some examples (n,) of the batch."""
        source = self.source[rows] if isinstance(self.source, Tensor) else self.source.examples(rows)
        return FactoredGradient(self.left[rows], source, self.padded)

    def memory(self) -> int:
        examples, _, rows = self.left.shape
        formed = examples * rows * self.columns * self.left.element_size() if self.smaller_formed else 0
        return self.left.nbytes + self.source.nbytes + formed

    @property
    def smaller_formed(self) -> bool:
        """Whether the matrices take less room than their factors: convolutions with many more pixels than weights."""
        _, positions, rows = self.left.shape
        return positions * (rows + self.columns) > rows * self.columns

    def dense(self) -> Tensor:
        if self._formed is not None:
            return self._formed
        formed = torch.bmm(self.left.transpose(1, 2), self.right)
        if self.smaller_formed:
            self._formed = formed
        return formed

    def dot(self, vectors: Tensor) -> Tensor:
        queries, rows, columns = vectors.shape
        examples, positions, _ = self.left.shape
        if queries == 1 and not self.smaller_formed:  # one plain product, as large as the layer's own
            return ((self.right @ vectors[0].T) * self.left).sum(dim=(1, 2)).unsqueeze(1)
        many = positions > 1 and queries > 1 and examples * rows * columns <= _DENSE_LIMIT
        if self.smaller_formed or many:
            return self.dense().flatten(1) @ vectors.flatten(1).T
        if rows <= columns:  # contract the wider side with the query first
            mixed = torch.einsum("bti,qoi->btqo", self.right, vectors)
            return torch.einsum("btqo,bto->bq", mixed, self.left)
        mixed = torch.einsum("bto,qoi->btqi", self.left, vectors)
        return torch.einsum("btqi,bti->bq", mixed, self.right)

    def combine(self, weights: Tensor) -> Tensor:
        flat = self.right.flatten(0, 1)
        weighted = [(self.left * column[:, None, None]).flatten(0, 1).T @ flat for column in weights.T]
        return torch.stack(weighted)

    def norm_squared(self) -> Tensor:
        _, positions, rows = self.left.shape
        if self.smaller_formed or positions * positions > rows * self.columns:
            return lengths_of(self.dense()).square()
        right = self.right
        gram = torch.bmm(self.left, self.left.transpose(1, 2)) * torch.bmm(right, right.transpose(1, 2))
        return gram.sum(dim=(1, 2)).clamp_min(0.0)

    def project(self, left: Side, right: Side) -> Tensor:
        if self.smaller_formed:
            return DenseGradient(self.dense()).project(left, right)
        narrow_left = narrowed(self.left, left)
        return torch.bmm(narrow_left.transpose(1, 2), narrowed(self.right, right)).flatten(1)

    def sum_of_squares(self, left: Side, right: Side) -> Tensor:
        """Σ_b (left @ G_b @ rightᵀ)², elementwise: (p, q)."""
        _, positions, rows = self.left.shape
        columns = self.columns
        if positions == 1:
            squares = narrowed(self.left, left).square().flatten(0, 1)
            return squares.T @ narrowed(self.right, right).square().flatten(0, 1)
        sides = rows**2 + columns**2
        if self.smaller_formed or positions * sides > rows * columns * (rows + columns):
            return DenseGradient(self.dense()).sum_of_squares(left, right)
        narrow_left = narrowed(self.left, left)
        return torch.bmm(narrow_left.transpose(1, 2), narrowed(self.right, right)).square_().sum(dim=0)


@dataclass
class EmbeddingGradient:
    """Gradient of an embedding table (V, D): row ids (B, T) receive the output gradients right (B, T, D)."""

    ids: Tensor
    right: Tensor
    rows: int

    def memory(self) -> int:
        return self.ids.nbytes + self.right.nbytes

    def dense(self) -> Tensor:
        examples, _, width = self.right.shape
        result = self.right.new_zeros(examples, self.rows, width)
        index = self.ids.unsqueeze(-1).expand(-1, -1, width)
        return result.scatter_add_(1, index, self.right)

    def dot(self, vectors: Tensor) -> Tensor:
        return torch.stack([(vector[self.ids] * self.right).sum(dim=(1, 2)) for vector in vectors], dim=1)

    def combine(self, weights: Tensor) -> Tensor:
        width = self.right.shape[2]
        result = self.right.new_zeros(weights.shape[1], self.rows, width)
        for total, column in zip(result, weights.T, strict=True):
            total.index_add_(0, self.ids.flatten(), (self.right * column[:, None, None]).flatten(0, 1))
        return result

    def norm_squared(self) -> Tensor:
        same = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).to(self.right.dtype)
        gram = torch.bmm(self.right, self.right.transpose(1, 2)) * same
        return gram.sum(dim=(1, 2)).clamp_min(0.0)

    def project(self, left: Side, right: Side) -> Tensor:
        narrow = narrowed(self.right, right)
        if left is None:
            return EmbeddingGradient(self.ids, narrow, self.rows).dense().flatten(1)
        chosen = left.dtype == torch.int64
        looked_up = (
            (self.ids.unsqueeze(2) == left).to(narrow.dtype) if chosen else left.T[self.ids]
        )  # (B, T, p)
        return torch.bmm(looked_up.transpose(1, 2), narrow).flatten(1)

    def sum_of_squares(self, left: Side, right: Side) -> Tensor:
        """Σ_b (G_b @ rightᵀ)², elementwise: (V, q). Only the standard basis makes sense for a table's rows."""
        assert left is None
        narrow = narrowed(self.right, right)
        # Occurrences of one word in one example are summed before they are squared.
        same = (self.ids.unsqueeze(1) == self.ids.unsqueeze(2)).to(narrow.dtype)
        summed = torch.bmm(same, narrow)
        share = 1.0 / same.sum(dim=2, keepdim=True)  # each occurrence brings its part of the square
        result = narrow.new_zeros(self.rows, narrow.shape[2])
        return result.index_add_(0, self.ids.flatten(), (summed.square() * share).flatten(0, 1))


@dataclass
class DenseGradient:
    """Gradient that is stored as it is: values (B, P) or (B, O, I)."""

    values: Tensor

    def memory(self) -> int:
        return self.values.nbytes

    def dense(self) -> Tensor:
        return self.values

    def dot(self, vectors: Tensor) -> Tensor:
        return self.values.flatten(1) @ vectors.flatten(1).T

    def combine(self, weights: Tensor) -> Tensor:
        return torch.einsum("bq,b...->q...", weights, self.values)

    def norm_squared(self) -> Tensor:
        return lengths_of(self.values).square()

    def project(self, left: Side, right: Side) -> Tensor:
        return self._sandwiched(left, right).flatten(1)

    def sum_of_squares(self, left: Side, right: Side) -> Tensor:
        """Σ_b (left @ G_b @ rightᵀ)², elementwise: (p, q), or (q,) for a vector block."""
        squares = self._sandwiched(left, right).square().sum(dim=0)
        return squares if self.values.dim() == 3 else squares[0]

    def _sandwiched(self, left: Side, right: Side) -> Tensor:
        """``left @ G_b @ rightᵀ``: (B, p, q)."""
        values = self.values if self.values.dim() == 3 else self.values.unsqueeze(1)
        if left is None:
            return narrowed(values, right)
        # Whichever order takes fewer multiplications.
        _, rows, columns = values.shape
        kept_rows, kept_columns = len(left), columns if right is None else len(right)
        right_first = columns * kept_columns * (rows - kept_rows) <= rows * kept_rows * (
            columns - kept_columns
        )
        if right_first:
            values = narrowed(values, right)
        values = values.index_select(1, left) if left.dtype == torch.int64 else torch.matmul(left, values)
        return values if right_first else narrowed(values, right)


def joined(parts: list[BlockGradient]) -> BlockGradient:
    """The gradient of a module that ran several times in one forward pass: contributions add up."""
    if len(parts) == 1:
        return parts[0]
    factored = [part for part in parts if isinstance(part, FactoredGradient)]
    if len(factored) == len(parts):
        return FactoredGradient(
            torch.cat([part.left for part in factored], dim=1),
            torch.cat([part.right for part in factored], dim=1),
            all(part.padded for part in factored),
        )
    looked_up = [part for part in parts if isinstance(part, EmbeddingGradient)]
    if len(looked_up) == len(parts):
        return EmbeddingGradient(
            torch.cat([part.ids for part in looked_up], dim=1),
            torch.cat([part.right for part in looked_up], dim=1),
            looked_up[0].rows,
        )
    return DenseGradient(torch.stack([part.dense() for part in parts]).sum(dim=0))
