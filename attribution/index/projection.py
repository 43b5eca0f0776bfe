"""Compressing block gradients: a random projection of both sides of each matrix (Johnson-Lindenstrauss).

``P_left G P_rightᵀ`` keeps inner products in expectation, and is computed from the factors of G, so the gradient
itself is never formed. A block that fits its share of the budget is stored as it is (no projection).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.capture import PerExampleGradients


@dataclass(frozen=True)
class BlockProjection:
    """How one block is stored: ``left`` and ``right`` rows kept on each side, None for all of them."""

    name: str
    shape: tuple[int, ...]
    left: int | None
    right: int | None

    @property
    def width(self) -> int:
        """Numbers stored per example."""
        rows, columns = _sides(self.shape)
        return (self.left or rows) * (self.right or columns)


class Projection:
    """The projections of all blocks, drawn from a seed.

    Args:
        blocks: what to keep of each block.
        seed: start of the random numbers; each block draws its own from it.
        device: where the matrices live.
    """

    def __init__(self, blocks: list[BlockProjection], seed: int, device: torch.device | str = "cpu") -> None:
        self.blocks = blocks
        self._matrices = {
            block.name: (
                _matrix(block.left, _sides(block.shape)[0], seed, f"{block.name}:left", device),
                _matrix(block.right, _sides(block.shape)[1], seed, f"{block.name}:right", device),
            )
            for block in blocks
        }

    @property
    def width(self) -> int:
        """Numbers stored per example, over all blocks."""
        return sum(block.width for block in self.blocks)

    @property
    def exact(self) -> bool:
        """Whether nothing is lost."""
        return all(block.left is None and block.right is None for block in self.blocks)

    def __call__(self, gradients: PerExampleGradients) -> Tensor:
        """Compressed gradients (B, width)."""
        return torch.cat(
            [gradients.blocks[block.name].project(*self._matrices[block.name]) for block in self.blocks],
            dim=1,
        )


def plan_blocks(shapes: dict[str, tuple[int, ...]], width: int) -> list[BlockProjection]:
    """Share ``width`` numbers per example among blocks, in proportion to the square root of their size.

    Blocks that need less than their share are stored whole, and what they leave goes to the others.
    """
    kept: dict[str, BlockProjection] = {}
    open_blocks = dict(shapes)
    left_over = width
    while open_blocks:
        total = sum(math.sqrt(math.prod(shape)) for shape in open_blocks.values())
        shares = {
            name: left_over * math.sqrt(math.prod(shape)) / total for name, shape in open_blocks.items()
        }
        whole = [name for name, shape in open_blocks.items() if math.prod(shape) <= shares[name]]
        if not whole:
            for name, shape in open_blocks.items():
                kept[name] = _projected(name, shape, max(int(shares[name]), 1))
            break
        for name in whole:
            shape = open_blocks.pop(name)
            kept[name] = BlockProjection(name, shape, None, None)
            left_over -= math.prod(shape)
    return [kept[name] for name in shapes]


def _projected(name: str, shape: tuple[int, ...], share: int) -> BlockProjection:
    rows, columns = _sides(shape)
    side = max(int(math.sqrt(share)), 1)
    left = min(rows, side)
    right = min(columns, max(share // left, 1))
    left = min(rows, max(share // right, 1))
    return BlockProjection(name, shape, None if left == rows else left, None if right == columns else right)


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """A vector block is one row."""
    return (1, shape[0]) if len(shape) == 1 else (shape[0], math.prod(shape[1:]))


def _matrix(kept: int | None, size: int, seed: int, name: str, device: torch.device | str) -> Tensor | None:
    if kept is None:
        return None
    generator = torch.Generator().manual_seed((seed << 32) ^ zlib.crc32(name.encode()))
    return (torch.randn(kept, size, generator=generator) / math.sqrt(kept)).to(device)
