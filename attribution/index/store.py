"""Reading the gradient index: memory-mapped shards, streamed through for each question."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attribution.errors import ProjectError
from attribution.index.build import coordinates_name, shard_name
from attribution.index.coordinates import Coordinates
from attribution.index.plan import IndexPlan
from attribution.index.shards import read_shard, shard_rows
from attribution.projects.ledger import Ledger


class GradientIndex:
    """An index that was built for a project (see `attribution.index.build`).

    Each shard is checked against its checksum when it is first read.

    Args:
        ledger: of the folder where it lies.
        device: where inner products are computed.

    Raises:
        ProjectError: the index is damaged.
    """

    def __init__(self, ledger: Ledger, device: torch.device | str = "cpu") -> None:
        self.ledger = ledger
        try:
            self.plan = IndexPlan(**ledger.arguments["plan"])
            self._examples = int(ledger.arguments["examples"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectError(
                f"The gradient index in '{ledger.directory}' is damaged: run tracefix prepare to make it again."
            ) from error
        self._device = device
        self._coordinates: dict[int, Coordinates] = {}
        self._whole: dict[tuple[int, str], Tensor] = {}
        self._resident: dict[str, Tensor] = {}

    @property
    def exact(self) -> bool:
        """Whether inner products with the stored gradients are exact (nothing was left out)."""
        return self.plan.exact

    def has(self, point: int) -> bool:
        """Whether the index covers a point of the run."""
        return all(name in self.ledger.files for name in [coordinates_name(point), *self._shards(point)])

    def coordinates(self, point: int) -> Coordinates:
        """What is kept at a point."""
        if point not in self._coordinates:
            file = self.ledger.verified(coordinates_name(point))
            self._coordinates[point] = Coordinates.load(file).to(self._device)
        return self._coordinates[point]

    def dots(self, point: int, queries: Tensor) -> Tensor:
        """Inner products (Q, N) of queries (Q, width; see `Coordinates.query`) with the training gradients."""
        found = torch.empty(len(queries), self._examples)
        start = 0
        for rows in self.unit_gradients(point):
            found[:, start : start + len(rows)] = queries @ rows.T
            start += len(rows)
        return found * self.array(point, "lengths")

    def self_dots(self, point: int) -> Tensor:
        """g_iᵀ (H + λI)⁻¹ g_i (N,), with the damping λ of the preparation: the squared length of the stored row."""
        return self.array(point, "lengths").square()

    def norms(self, point: int) -> Tensor:
        """Norms (N,) of the whole training gradients."""
        return self.array(point, "norms")

    def representations(self, point: int) -> Tensor:
        """Representations (N, D) of the training examples."""
        return self.array(point, "representations")

    def array(self, point: int, name: str) -> Tensor:
        """``lengths``, ``norms``, ``logits`` or ``representations`` of a point, for all N examples."""
        key = (point, name)
        if key not in self._whole:
            files = [self.ledger.verified(shard) for shard in self._shards(point)]
            self._whole[key] = torch.cat([read_shard(file, name) for file in files])
        return self._whole[key]

    def _shards(self, point: int) -> list[str]:
        count = len(shard_rows(self._examples, self.plan.shard_rows))
        return [shard_name(point, number) for number in range(count)]

    def unit_gradients(self, point: int) -> Iterator[Tensor]:
        """Unit rows (rows, width) of one shard after another, in float32 on the device; each is valid until the next.

        One buffer serves all of them: of buffers that come and go with the answers, the memory stays in pieces that no
        further one fits into, and it grows with the index.
        """
        on_processor = torch.device(self._device).type == "cpu"
        buffer = torch.empty(0)
        for name in self._shards(point):
            rows = self._resident.get(name)
            if rows is None:
                rows = read_shard(self.ledger.verified(name), "gradients").to(self._device)
                if not on_processor:  # the bus to an accelerator is slower than any query
                    self._resident[name] = rows
            if rows.dtype == torch.float32:
                yield rows
                continue
            if len(buffer) < len(rows):
                buffer = torch.empty(rows.shape, device=rows.device)
            yield buffer[: len(rows)].copy_(rows)
