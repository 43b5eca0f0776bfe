"""What the model says about each example."""

from __future__ import annotations

from contextlib import nullcontext

import pandas as pd
import torch
from torch import Tensor, nn

from attribution.batches import batch_count, batches
from attribution.finite import check_finite
from attribution.measurements import probabilities
from attribution.progress import SILENT, Reporter
from attribution.representation import RepresentationRecorder
from attribution.task import Task


def predict(
    task: Task,
    model: nn.Module,
    split: str,
    *,
    head: str | None = None,
    device: torch.device | str,
    batch_size: int,
    reporter: Reporter = SILENT,
    message: str = "Predicting",
) -> tuple[Tensor, Tensor | None]:
    """Logits (N, C) of a split in dataset order, and representations (N, D) where ``head`` names their reader.

    Raises:
        NumericalError: a logit is NaN or infinite.
    """
    size = task.size(split)
    outputs: dict[str, Tensor] = {}

    def keep(name: str, positions: Tensor, rows: Tensor) -> None:
        if name not in outputs:
            outputs[name] = torch.empty(size, *rows.shape[1:])
        outputs[name][positions] = rows.float().cpu()

    with (
        torch.no_grad(),
        RepresentationRecorder(model, head) if head is not None else nullcontext() as recorder,
    ):
        work = batches(task, split, batch_size)
        for batch in reporter.track(work, batch_count(size, batch_size), message):
            keep("logits", batch.positions, task.logits(model, batch.to(device).inputs))
            if recorder is not None:
                keep("representations", batch.positions, recorder.take())
    check_finite(outputs["logits"], "The model's output")
    return outputs["logits"], outputs.get("representations")


def prediction_table(task: Task, split: str, logits: Tensor, labels: Tensor) -> pd.DataFrame:
    """Label, predicted class, confidence, loss and probabilities p_0.. by example id."""
    chances = probabilities(logits)
    confidence, predicted = chances.max(dim=1)
    columns = {
        "label": labels.numpy(),
        "predicted": predicted.numpy(),
        "confidence": confidence.numpy(),
        "loss": task.loss(logits, labels).detach().numpy(),
    }
    columns |= {f"p_{number}": chances[:, number].numpy() for number in range(chances.shape[1])}
    return pd.DataFrame(columns, index=pd.Index(task.ids(split), name="id"))
