"""What a fix starts from: the model as training or earlier fixes left it, and what is known of how it was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attribution.capture import GradientCapture
from attribution.curvature.shrinkage import Shrinkage
from attribution.fixing.optimization import GradientMap
from attribution.progress import Reporter
from attribution.projects import FixRecord, Project
from attribution.runs import Run
from attribution.task import Task

FIXING_DAMPING = 0.03
"""Damping of the curvature that a fix steps in, times its mean eigenvalue.

Other predictions broken per fix by helpers. digits, all 39 mispredictions: plain gradient steps 8.9; at 10 times the
mean 4.4, at 3 times 3.7, 3.2 (1), 2.6 (0.3), 2.3 (0.1), 2.2 (0.03), 2.5 (0.01); all fixed everywhere. fashion, 12 of
its mispredictions: 41 (10), 34 (1), 30 (0.1), 23 (0.03), 20 (0.01), where one stays unfixed.
"""


@dataclass(frozen=True)
class FixContext:
    """A trained model, ready to be fixed; fixes work on copies of it.

    Args:
        model: the final model, or one that has fixes already, in evaluation mode.
        representations: (n_train, D), or None where the model has none.
        moments: Adam's second moments at ``model`` by parameter name, where the training record has them.
        curvature: gives what directed steps follow instead of plain gradients (see `Optimization.natural`).
        predictions: of ``model`` for the test set, as `Project.predictions` has them.
        beneath: the fixes that ``model`` has already, the first one first; none where it is as training left it.
        difference: the largest one of a probability between their replays and their records.
    """

    project: Project
    task: Task
    model: nn.Module
    representations: NDArray[np.float32] | None
    device: torch.device
    moments: Mapping[str, Tensor] | None
    curvature: Callable[[Reporter], GradientMap]
    predictions: pd.DataFrame
    beneath: tuple[FixRecord, ...] = ()
    difference: float = 0.0

    @classmethod
    def of(cls, run: Run) -> FixContext:
        """The end of a run. Valid until its model is moved to another point."""
        loaded, final = run.loaded, run.loaded.trajectory.final
        checkpoint, betas = final.checkpoint, loaded.task.betas
        return cls(
            project=run.project,
            task=loaded.task,
            model=loaded.trajectory.model_at(final),
            representations=run.representations(),
            device=torch.device(loaded.device),
            moments=None if checkpoint is None else checkpoint.corrected_moments(betas[1]),
            curvature=partial(natural_steps, run),
            predictions=run.project.predictions("test"),
        )


def natural_steps(run: Run, reporter: Reporter) -> GradientMap:
    """λ(H + λI)⁻¹ of a gradient by parameter, with EK-FAC at the final model and a large λ."""
    loaded, final = run.loaded, run.loaded.trajectory.final
    capture = GradientCapture(loaded.task, loaded.trajectory.model_at(final))
    found = loaded.curvature.at(final, reporter).to(loaded.device)
    shrunk = Shrinkage(found, FIXING_DAMPING * found.mean_eigenvalue())

    def mapped(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        whole = {
            name: gradients[name] if name in gradients else torch.zeros_like(parameter)
            for name, parameter in capture.model.named_parameters()
            if parameter.requires_grad
        }
        blocks = capture.from_parameters({name: g.unsqueeze(0) for name, g in whole.items()})
        moves = shrunk({name: block[0] for name, block in blocks.items()})
        by_parameter = capture.to_parameters({name: move.unsqueeze(0) for name, move in moves.items()})
        return {name: by_parameter[name][0] for name in whole}

    return mapped
