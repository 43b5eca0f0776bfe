"""Turn-over dropout: each training example is seen by its own half of the units only (Kobayashi et al. 2020).

    class Net(nn.Module):
        def __init__(self):
            ...
            self.turnover = TurnoverDropout(width=64)

    with masked(model, train_ids_of_the_batch):
        loss = criterion(model(inputs), labels)     # and so on, in every training step

Outside of `masked` the layer does nothing: the whole network predicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


def unit_mask(example_id: str, width: int, seed: int) -> np.ndarray:
    """Which of ``width`` units an example is seen by, 0 or 1, from a hash of its id: the same in every process."""
    digest = hashlib.shake_256(f"{seed}:{example_id}".encode()).digest(-(-width // 8))
    return np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:width]


class TurnoverDropout(nn.Module):
    """Dropout (p = ½) over the last dimension (width), whose mask belongs to the example and never changes.

    Args:
        width: size of the last dimension.
        seed: give each such layer of a model another one.
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        self.width = width
        self.seed = seed
        self.kept: Tensor | None = None
        """Mask (B, width) that is in force, or None."""

    def forward(self, hidden: Tensor) -> Tensor:
        if self.kept is None:
            return hidden
        kept = self.kept.to(hidden)
        between = [1] * (hidden.dim() - 2)
        return 2 * hidden * kept.reshape(len(kept), *between, self.width)


def turnover_layers(model: nn.Module) -> list[TurnoverDropout]:
    """The model's turn-over dropout layers."""
    return [module for module in model.modules() if isinstance(module, TurnoverDropout)]


@contextmanager
def masked(model: nn.Module, example_ids: Sequence[str], *, flipped: bool = False) -> Iterator[None]:
    """Within the block row b passes through the units of example ``example_ids[b]``, or with ``flipped`` the others."""
    layers = turnover_layers(model)
    try:
        for layer in layers:
            rows = np.stack([unit_mask(str(one), layer.width, layer.seed) for one in example_ids])
            layer.kept = torch.from_numpy(1 - rows if flipped else rows)
        yield
    finally:
        for layer in layers:
            layer.kept = None
