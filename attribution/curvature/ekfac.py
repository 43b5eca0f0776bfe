"""EK-FAC: Kronecker-factored eigenbases with eigenvalues measured in them (George et al. 2018, Grosse et al. 2023).

For a matrix block with per-example gradient G = Σ_t left_t ⊗ right_t, the curvature is taken as diagonal in the
basis Q_S ⊗ Q_A, where Q_A and Q_S are the eigenvectors of E[right rightᵀ] and E[left leftᵀ], and

    Λ_jk = E[((Q_Sᵀ G Q_A)_jk)²]

with random gradients whose second moment is the Gauss-Newton matrix (`attribution.curvature.probes`; labels from the
data would give the empirical Fisher).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attribution.capture import (
    BlockGradient,
    EmbeddingGradient,
    FactoredGradient,
    GradientCapture,
    PerExampleGradients,
    gradient_stream,
)
from attribution.curvature.probes import Probe, Probes
from attribution.errors import NumericalError
from attribution.progress import SILENT, Reporter
from attribution.task import Task
from attribution.tensors import blocks_to, read_blocks, write_blocks

LARGEST_VECTOR_BASIS = 2048
"""Vector blocks (P,) up to this size get a full eigenbasis; longer ones stay diagonal."""

LARGEST_MATRIX_SIDE = 8192
"""Sides of a matrix block beyond this keep the standard basis (embedding tables, whose factor is diagonal anyway)."""


HELD = 2**28
"""Bytes of gradients that are kept from the pass for the bases to the one for the eigenvalues; more are made anew."""

SMALLEST_SAMPLE, ROWS_PER_COLUMN = 250, 64
"""Examples that the bases of a convolution are taken from at least, and rows (pixels of examples) for each column.

With 216 columns over 49 pixels that is every third of 1,000 examples; the eigenvalues, which need more, are measured on
all of them.
"""


Spectrum = Callable[[Tensor], Tensor]
"""Eigenvalues of a block -> what each eigendirection is multiplied by."""


@dataclass
class EigenBlock:
    """Eigenbases (None for the standard basis) and eigenvalues of one block."""

    left: Tensor | None
    right: Tensor | None
    eigenvalues: Tensor

    def rotate(self, vectors: Tensor) -> Tensor:
        """(Q, *shape) into the eigenbasis."""
        if self.left is not None:
            vectors = _times(self.left.T, vectors)
        return vectors if self.right is None else vectors @ self.right

    def rotate_back(self, vectors: Tensor) -> Tensor:
        """The inverse of `rotate`."""
        if self.left is not None:
            vectors = _times(self.left, vectors)
        return vectors if self.right is None else vectors @ self.right.T


def _times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """``matrix @ v`` for each of (Q, o, i). A single one is spared the copies of a batch: three times as fast."""
    if len(vectors) == 1:
        return (matrix @ vectors[0]).unsqueeze(0)
    return torch.einsum("jo,qoi->qji", matrix, vectors)


class EKFAC:
    """A fitted EK-FAC approximation; see `fit_ekfac`."""

    def __init__(self, blocks: dict[str, EigenBlock]) -> None:
        self._blocks = blocks

    @property
    def blocks(self) -> dict[str, EigenBlock]:
        """Eigenbasis and eigenvalues of each block."""
        return self._blocks

    def inverse(self, vectors: dict[str, Tensor], damping: float) -> dict[str, Tensor]:
        """``(H + damping·I)⁻¹ v`` for Q vectors by block (Q, *shape).

        Raises:
            NumericalError: the result is not finite.
        """
        return self.mapped(vectors, lambda eigenvalues: 1 / (eigenvalues + damping))

    def inverse_form(self, vectors: Mapping[str, Tensor], damping: float) -> Tensor:
        """``vᵀ (H + damping·I)⁻¹ v`` for Q vectors by block (Q, *shape), float64 (Q,): half the work of `inverse`.

        Raises:
            NumericalError: the result is not finite.
        """
        parts = []
        for name, block in self._blocks.items():
            squares = block.rotate(vectors[name]).double().square()
            parts.append((squares / (block.eigenvalues.double() + damping)).flatten(1).sum(dim=1))
        total = torch.stack(parts).sum(dim=0)
        if not bool(torch.isfinite(total).all()):
            raise NumericalError(
                "The damped curvature cannot be inverted: use a larger damping, or another method."
            )
        return total

    def mapped(self, vectors: Mapping[str, Tensor], spectrum: Spectrum) -> dict[str, Tensor]:
        """``f(H) v`` for Q vectors by block (Q, *shape), with f given on the eigenvalues.

        Raises:
            NumericalError: the result is not finite.
        """
        return self.scaled(vectors, {name: spectrum(b.eigenvalues) for name, b in self._blocks.items()})

    def scaled(self, vectors: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``Q diag(factors) Qᵀ v`` for Q vectors by block (Q, *shape), the factors by block (*shape).

        Raises:
            NumericalError: the result is not finite.
        """
        result = {}
        for name, block in self._blocks.items():
            result[name] = block.rotate_back(block.rotate(vectors[name]) * factors[name])
            if not bool(torch.isfinite(result[name]).all()):
                raise NumericalError(
                    f"The damped curvature of '{name}' cannot be inverted: use a larger damping, or another method."
                )
        return result

    def diagonal_of(self, diagonal: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The diagonal of ``Qᵀ diag(d) Q`` for d in the parameters, both by block: (Q_S∘Q_S)ᵀ d (Q_A∘Q_A)."""
        result = {}
        for name, block in self._blocks.items():
            values = diagonal[name]
            if block.left is not None:
                values = block.left.square().T @ values
            result[name] = values if block.right is None else values @ block.right.square()
        return result

    def mean_eigenvalue(self) -> float:
        """Trace over dimension."""
        total = sum(float(block.eigenvalues.sum()) for block in self._blocks.values())
        return total / sum(block.eigenvalues.numel() for block in self._blocks.values())

    def to(self, device: torch.device | str) -> EKFAC:
        """The same on another device."""
        return EKFAC(blocks_to(self._blocks, device))

    def save(self, file: Path) -> None:
        """Write to a safetensors file, atomically."""
        write_blocks(file, self._blocks)

    @classmethod
    def load(cls, file: Path) -> EKFAC:
        """Read what `save` wrote."""
        return cls(read_blocks(file, EigenBlock))


def fit_ekfac(
    task: Task,
    capture: GradientCapture,
    *,
    device: torch.device | str = "cpu",
    batch_size: int,
    seed: int = 0,
    positions: Sequence[int] | None = None,
    probe: Probe = "signs",
    draws: int = 1,
    reporter: Reporter = SILENT,
    message: str = "Curvature",
) -> EKFAC:
    """Fit EK-FAC at the parameters that ``capture.model`` has now; see `fit_mean_ekfac`."""
    return fit_mean_ekfac(
        task,
        [lambda: capture],
        device=device,
        batch_size=batch_size,
        seed=seed,
        positions=positions,
        probe=probe,
        draws=draws,
        reporter=reporter,
        message=message,
    )


def fit_mean_ekfac(
    task: Task,
    captures: Sequence[Callable[[], GradientCapture]],
    *,
    device: torch.device | str = "cpu",
    batch_size: int,
    seed: int = 0,
    positions: Sequence[int] | None = None,
    probe: Probe = "signs",
    draws: int = 1,
    reporter: Reporter = SILENT,
    message: str = "Curvature",
) -> EKFAC:
    """Fit EK-FAC to the mean curvature of several points of a run, all in one basis.

    One pass per point for the bases (of the mean factors), one for the eigenvalues (the mean of each point's own in
    that basis), as Bae et al. 2024 do.

    Args:
        captures: each moves the model to its point when it is called.
        positions: training examples to fit on; all by default.
        probe: the random gradients that stand for the curvature (`attribution.curvature.probes`).
        draws: of them per example.
        seed: of the draws, which depend on the example alone and not on batches or their order.
    """
    chosen = torch.arange(task.size("train")) if positions is None else torch.as_tensor(list(positions))
    size, classes = len(chosen), len(task.class_names)
    ranks = torch.empty(task.size("train"), dtype=torch.long)
    ranks[chosen] = torch.arange(size)
    probes = [Probes(probe, task.loss, task.size("train"), classes, seed + draw) for draw in range(draws)]

    def computed(share: Reporter, words: str) -> Iterator[tuple[Tensor, PerExampleGradients]]:
        total = len(captures) * draws
        for number, moved in enumerate(captures):
            capture = moved()
            for draw, drawn in enumerate(probes):
                done = number * draws + draw
                stream = gradient_stream(
                    task,
                    capture,
                    drawn.at,
                    positions=positions,
                    batch_size=batch_size,
                    device=device,
                    reporter=share.share(done / total, (done + 1) / total),
                    message=words,
                )
                for rows, gradients in stream:
                    yield ranks[rows], gradients

    count = size * draws * len(captures)
    held = _Held()
    moments: dict[str, _Moments] = {}
    for numbers, gradients in computed(reporter.share(0.0, 0.5), f"{message}: bases"):
        held.add(gradients)
        for name, block in gradients.blocks.items():
            moments.setdefault(name, _Moments(count)).add(block, numbers)
    bases = {name: found.bases() for name, found in moments.items()}
    sums: dict[str, Tensor] = {}
    rest = reporter.share(0.5, 1.0)
    words = f"{message}: eigenvalues"
    again = held.given_back(rest, words) if held.complete else (found for _, found in computed(rest, words))
    for gradients in again:
        for name, gradient in gradients.blocks.items():
            squares = gradient.sum_of_squares(*(None if b is None else b.T for b in bases[name]))
            sums[name] = squares if name not in sums else sums[name] + squares
    return EKFAC({name: EigenBlock(left, right, sums[name] / count) for name, (left, right) in bases.items()})


class _Held:
    """The gradients of the first pass, kept for the second as long as they take little memory."""

    def __init__(self) -> None:
        self._batches: deque[PerExampleGradients] = deque()
        self._room = HELD
        self.complete = True

    def add(self, gradients: PerExampleGradients) -> None:
        """Keep a batch; once one does not fit, keep none."""
        self._room -= gradients.memory()
        self.complete = self.complete and self._room >= 0
        if self.complete:
            self._batches.append(gradients)
        else:
            self._batches.clear()

    def given_back(self, reporter: Reporter, message: str) -> Iterator[PerExampleGradients]:
        """All of them, each forgotten when the next is asked for."""
        total = len(self._batches)
        yield from reporter.track((self._batches.popleft() for _ in range(total)), total, message)


class _Moments:
    """Sums of left leftᵀ and right rightᵀ over examples and positions.

    Of a convolution, whose examples have many positions each, some of the examples are enough (`SMALLEST_SAMPLE`).

    Args:
        count: gradients that will be added in all.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._left: Tensor | None = None
        self._right: Tensor | None = None

    def add(self, block: BlockGradient, numbers: Tensor) -> None:
        """Add the gradients of examples with these numbers (B,), which decide on those that are used."""
        if isinstance(block, FactoredGradient):
            if not block.padded:
                block = self._some(block, numbers)
                if not len(block.left):
                    return
            left, right = block.left.flatten(0, 1), block.right.flatten(0, 1)
            if block.padded:
                # Tokens without gradient (padding, or read by nothing) say nothing about the parameters.
                used = (left != 0).any(dim=1)
                if not bool(used.all()):
                    left, right = left[used], right[used]
            self._left = _plus(self._left, _second_moment(left))
            self._right = _plus(self._right, _second_moment(right))
        elif isinstance(block, EmbeddingGradient):
            self._right = _plus(self._right, _second_moment(block.right.flatten(0, 1)))
        else:
            values = block.dense()
            if values.dim() == 3:
                self._left = _plus(self._left, _second_moment(values.transpose(1, 2).flatten(0, 1)))
                self._right = _plus(self._right, _second_moment(values.flatten(0, 1)))
            elif values.shape[1] <= LARGEST_VECTOR_BASIS:
                self._right = _plus(self._right, _second_moment(values))

    def _some(self, block: FactoredGradient, numbers: Tensor) -> FactoredGradient:
        _, positions, rows = block.left.shape
        wanted = max(SMALLEST_SAMPLE, ROWS_PER_COLUMN * max(rows, block.columns) // positions)
        step = self._count // wanted
        return block if step <= 1 else block.examples((numbers % step == 0).nonzero().flatten())

    def bases(self) -> tuple[Tensor | None, Tensor | None]:
        return _eigenvectors(self._left), _eigenvectors(self._right)


def _plus(total: Tensor | None, part: Tensor | None) -> Tensor | None:
    if part is None:
        return total
    return part if total is None else total + part


def _second_moment(rows: Tensor) -> Tensor | None:
    return None if rows.shape[1] > LARGEST_MATRIX_SIDE else rows.T @ rows


def _eigenvectors(moment: Tensor | None) -> Tensor | None:
    if moment is None:
        return None
    # float64: float32 eigensolvers fail on the nearly singular moments that well-fitted models have.
    vectors: Tensor = torch.linalg.eigh(moment.double().cpu()).eigenvectors
    return vectors.to(moment)
