"""Deep embedded clustering (Xie et al. 2016) of three Gaussian clusters: trained with one loss, asked about another.

The training loss is KL(p ‖ q) to a target p that is frozen, the measurement the negative log-likelihood of a cluster
(Silva et al. 2022). Ground truth is retraining without each point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attribution import Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.capture.capture import ValueFunction
from attribution.curvature.exact import fit_exact
from tests.unit.tiny_models import Pairs

CLUSTERS, EACH, HELD_OUT = 3, 20, 10
STEPS, LEARNING_RATE = 1000, 1.0
DAMPING = 1.0 / (LEARNING_RATE * STEPS)
"""Directions of less curvature than this are not settled by so much training (Bae et al. 2024)."""


class Clustering(nn.Module):
    """An encoder with centroids: points (B, 2) -> logits (B, 3) of q, Student's t-distribution of their distances."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))
        self.centroids = nn.Parameter(torch.zeros(CLUSTERS, 2))

    def forward(self, points: Tensor) -> Tensor:
        distances = (self.encoder(points).unsqueeze(1) - self.centroids).square().sum(dim=2)
        return -torch.log1p(distances)


@dataclass(frozen=True)
class Clustered:
    """A trained clustering, and what retraining without each point does to each cluster's measurement (C, N)."""

    task: Task
    retrained: Tensor


def log_likelihood_of(cluster: int) -> ValueFunction:
    """The measurement: negative log-likelihood (B,) of a cluster."""
    return lambda logits, labels: -logits.log_softmax(dim=1)[:, cluster]


def _held_out_points(task: Task, cluster: int) -> list[int]:
    return list(range(cluster * HELD_OUT, (cluster + 1) * HELD_OUT))


def clustered(seed: int) -> Clustered:
    """Train on one draw of the points, and again without each of them."""
    torch.manual_seed(seed)
    means = torch.tensor([[0.0, 2.0], [-2.0, -1.0], [2.0, -1.0]], dtype=torch.float64)
    points, held_out = (
        (means.unsqueeze(1) + torch.randn(CLUSTERS, count, 2, dtype=torch.float64)).flatten(0, 1)
        for count in (EACH, HELD_OUT)
    )
    model = Clustering().double()
    with torch.no_grad():
        model.centroids.copy_(model.encoder(points).unflatten(0, (CLUSTERS, EACH)).mean(dim=1))
        q = model(points).softmax(dim=1)
        weights = q.square() / q.sum(dim=0)
        target = weights / weights.sum(dim=1, keepdim=True)

    def divergence(logits: Tensor, rows: Tensor) -> Tensor:
        """KL(p ‖ q) (B,); the label of an example is its row of the frozen target."""
        p = target.to(logits)[rows]
        return (p * (p.log() - logits.log_softmax(dim=1))).sum(dim=1)

    size = CLUSTERS * EACH
    rows = torch.arange(size)

    def objective(parameters: dict[str, Tensor], present: Tensor) -> Tensor:
        losses = divergence(functional_call(model, parameters, (points,)), rows)
        return (losses * present).sum() / present.sum()

    # All runs side by side, each from the same weights with its own descent: the whole data, and one point less.
    present = torch.cat([torch.ones(1, size), 1.0 - torch.eye(size)]).double()
    runs = {name: p.detach().expand(len(present), *p.shape) for name, p in model.named_parameters()}
    slope = vmap(grad(objective))
    for _ in range(STEPS):
        slopes = slope(runs, present)
        runs = {name: tensor - LEARNING_RATE * slopes[name] for name, tensor in runs.items()}
    task = Task(
        model=model,
        train=Pairs(points, rows.tolist()),
        test=Pairs(held_out, [0] * len(held_out)),
        class_names=["top", "left", "right"],
        loss=divergence,
    )
    after = vmap(lambda parameters: functional_call(model, parameters, (held_out,)))(runs)
    negative_log = -after.log_softmax(dim=2)
    measured = torch.stack(
        [negative_log[:, _held_out_points(task, c), c].mean(dim=1) for c in range(CLUSTERS)]
    )
    model.load_state_dict({name: tensor[0] for name, tensor in runs.items()})
    return Clustered(task, measured[:, 1:] - measured[:, :1])


def influence(task: Task, cluster: int) -> Tensor:
    """(1/N) ∇fᵀ (H + λI)⁻¹ ∇ℓ_i (N,): what removing each point does to f, by the curvature and gradients of ℓ."""
    capture = GradientCapture(task, task.model)
    points = batch_of(task, "train", range(task.size("train")))
    asked = batch_of(task, "test", _held_out_points(task, cluster))
    each = capture.gradients(asked.inputs, asked.labels, log_likelihood_of(cluster)).dense()
    measurement = {name: block.mean(dim=0, keepdim=True) for name, block in each.items()}
    curvature = fit_exact(task, capture, batch_size=len(points))
    solved = curvature.inverse(measurement, DAMPING)
    gradients = capture.gradients(points.inputs, points.labels, task.loss)
    return gradients.dot(solved)[:, 0] / task.size("train")


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r."""
    return float(torch.corrcoef(torch.stack([first.double(), second.double()]))[0, 1])


def agreement(found: Clustered, cluster: int) -> tuple[float, float]:
    """Correlation with retraining of the influence by the training loss, and of that by the measured loss in its place.

    The second is the control: the same measurement with the curvature and the gradients of the wrong loss.
    """
    wrong = replace(found.task, loss=log_likelihood_of(cluster))
    return (
        correlation(influence(found.task, cluster), found.retrained[cluster]),
        correlation(influence(wrong, cluster), found.retrained[cluster]),
    )
