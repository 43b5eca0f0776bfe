"""Random projections of per-example gradients, for methods that invert a small matrix of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from attribution.capture import GradientCapture, PerExampleGradients, gradient_stream
from attribution.index.shards import read_shard
from attribution.progress import Reporter
from attribution.tensors import write_tensors

if TYPE_CHECKING:
    from attribution.query import Loaded


class CountSketch:
    """Projection (P,) → (width,): each coordinate is added, with a random sign, to a random one of ``width`` numbers.

    Inner products keep their mean, with a variance like that of a dense random projection (Charikar et al. 2002;
    Weinberger et al. 2009), for one addition per coordinate.

    Args:
        shapes: of one example's gradient, by block.
        width: numbers kept.
        seed: of places and signs.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        width: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.width = width
        self._places: dict[str, Tensor] = {}
        self._signs: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            size = torch.Size(shape).numel()
            self._places[name] = torch.randint(width, (size,), generator=generator).to(device)
            signs = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8)
            self._signs[name] = (2 * signs - 1).to(device)

    def of(self, vectors: Mapping[str, Tensor]) -> Tensor:
        """Projections (B, width) of vectors by block (B, *shape)."""
        count = len(next(iter(vectors.values())))
        result = torch.zeros(count, self.width, device=next(iter(self._places.values())).device)
        for name, places in self._places.items():
            result.index_add_(1, places, vectors[name].flatten(1).float() * self._signs[name])
        return result

    def of_gradients(self, gradients: PerExampleGradients) -> Tensor:
        """Projections (B, width) of per-example gradients."""
        return self.of(gradients.dense())


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """log(p / (1 - p)) of the label (B,), the output function of Park et al. 2023."""
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    # p / (1 - p) as logits: no subtraction of nearly equal probabilities.
    return logits.gather(1, labels.unsqueeze(1)).squeeze(1) - others.logsumexp(dim=1)


def log_odds_features(loaded: Loaded, sketch: CountSketch, name: str, reporter: Reporter) -> Tensor:
    """Projected gradients (N, width) of the training examples' log-odds at the final model, kept beside the index.

    Args:
        name: of the file.

    Raises:
        ProjectError: the stored file is damaged, or the folder cannot be written.
    """
    ledger, task, point = loaded.index.ledger, loaded.task, loaded.trajectory.final
    file = f"point-{point.number}/{name}.safetensors"
    if file not in ledger.files:
        features = torch.empty(task.size("train"), sketch.width)
        stream = gradient_stream(
            task,
            GradientCapture(task, loaded.trajectory.model_at(point)),
            lambda positions: log_odds,
            batch_size=loaded.batch_size,
            device=loaded.device,
            reporter=reporter,
            message="Projecting the gradients of the log-odds",
        )
        for positions, gradients in stream:
            features[positions] = sketch.of_gradients(gradients).cpu()
        write_tensors(ledger.directory / file, {"features": features})
        ledger.add(file)
    return read_shard(ledger.verified(file), "features")
