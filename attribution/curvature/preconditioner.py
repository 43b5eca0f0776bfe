"""Adam's preconditioner: what it multiplies each parameter's gradient with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.capture import GradientCapture
from attribution.errors import MissingRequirementError, NumericalError, ProjectError
from attribution.task import Task
from attribution.trajectory import Point, mean_moments


def preconditioner(
    task: Task, capture: GradientCapture, points: Sequence[Point], device: torch.device | str
) -> dict[str, Tensor]:
    """P = 1/(√v̂ + ε) by block (*shape), with v̂ the mean of the points' corrected second moments (Kingma & Ba 2015).

    Where v̂ is zero no example has ever had a gradient, and P is zero instead of 1/ε: nothing moves there, and so huge
    a number would reach other directions by rounding.

    Raises:
        MissingRequirementError: a checkpoint has no second moments.
        NumericalError: one is NaN, infinite or negative.
        ProjectError: they do not fit the model.
    """
    checkpoints = [point.checkpoint for point in points if point.checkpoint is not None]
    moments = mean_moments(checkpoints, task.betas[1])
    if moments is None:
        raise MissingRequirementError(
            f"The checkpoints of this {task.optimizer} run lack Adam's second moments: give the optimizer.pt beside "
            "each checkpoint, or Checkpoint(second_moments=...)."
        )
    for name, parameter in capture.model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name not in moments:
            raise ProjectError(
                f"The second moments lack the parameter '{name}': give those of every trained parameter."
            )
        if moments[name].shape != parameter.shape:
            raise ProjectError(
                f"The second moments of '{name}' have the shape {tuple(moments[name].shape)} and the parameter "
                f"{tuple(parameter.shape)}: give those of the same model."
            )
        if not bool((torch.isfinite(moments[name]) & (moments[name] >= 0)).all()):
            raise NumericalError(
                f"The second moments of '{name}' are not all finite and at least zero, so Adam's steps cannot be "
                "followed: give those of a run that did not diverge, or use path, which does without them."
            )
    blocks = capture.from_parameters({name: tensor.unsqueeze(0) for name, tensor in moments.items()})
    result = {}
    for name, block in blocks.items():
        moment = block[0].to(device)
        result[name] = torch.where(moment > 0, 1 / (moment.sqrt() + task.epsilon), 0.0)
    return result
