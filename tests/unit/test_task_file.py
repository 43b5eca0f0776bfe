"""The contract of a task file, on the command line: a plain MLP with six checkpoints, and the scores it gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attribution import Engine, Project, Task
from attribution.methods import availability
from attribution.sources import load_task
from tests.command_line import CommandLine

TRAIN, TEST = 60, 40

TASK_FILE = """
import torch
from torch import nn

from attribution import Checkpoint, Task


def build() -> Task:
    torch.manual_seed(0)
    inputs = torch.randn(100, 6)
    labels = (inputs[:, :3] + 0.8 * torch.randn(100, 3)).argmax(dim=1)
    train_dataset = torch.utils.data.TensorDataset(inputs[:60], labels[:60])
    test_dataset = torch.utils.data.TensorDataset(inputs[60:], labels[60:])
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    checkpoints = []
    for step in range(1, 61):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs[:60]), labels[:60]).backward()
        optimizer.step()
        if step % 10 == 0:
            state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            checkpoints.append(Checkpoint(state_dict=state, learning_rate=0.05, step=step))
    return Task(model=net, train=train_dataset, test=test_dataset, class_names=["a", "b", "c"],
                checkpoints=checkpoints,
                optimizer="sgd", momentum=0.9, weight_decay=1e-3, batch_size=100)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the project; the first test that runs makes it."""
    return tmp_path_factory.mktemp("task") / "project"


@pytest.fixture
def project(directory: Path, tracefix: CommandLine) -> Project:
    """The project that `tracefix new --task` makes."""
    if not directory.exists():
        (directory.parent / "my_task.py").write_text(TASK_FILE)
        outcome = tracefix("new", directory, "--task", f"{directory.parent / 'my_task.py'}:build")
        assert outcome.status == 0, outcome.err
        assert tracefix("prepare", directory).status == 0
    return Project.open(directory)


class Oracle:
    """Gradients of every training example's loss and of one test example's margin, flat and by torch alone."""

    def __init__(self, task: Task, test_position: int) -> None:
        self.task = task
        self._inputs = torch.stack([task.train[i][0] for i in range(TRAIN)])
        self._labels = torch.tensor([int(task.train[i][1]) for i in range(TRAIN)])
        self._test, self._true = task.test[test_position][0], int(task.test[test_position][1])
        final = {name: p.detach() for name, p in task.model.named_parameters()}
        self._predicted = int(self._logits(final, self._test[None])[0].argmax())
        self.final = final

    def _logits(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        found: Tensor = functional_call(self.task.model, parameters, (inputs,))
        return found

    def train_gradients(self, parameters: dict[str, Tensor]) -> Tensor:
        """(N, P)"""

        def loss(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return nn.functional.cross_entropy(self._logits(p, x[None]), y[None])

        return flat(vmap(grad(loss), (None, 0, 0))(parameters, self._inputs, self._labels))

    def margin_gradient(self, parameters: dict[str, Tensor]) -> Tensor:
        """(P,)"""

        def margin(p: dict[str, Tensor]) -> Tensor:
            chances = self._logits(p, self._test[None]).log_softmax(dim=1)[0]
            return chances[self._predicted] - chances[self._true]

        return flat({name: g[None] for name, g in grad(margin)(parameters).items()})[0]

    def gauss_newton(self) -> Tensor:
        """Mean of Jᵀ (diag p - p pᵀ) J over the training examples, (P, P) in float64."""
        jacobian = vmap(torch.func.jacrev(lambda p, x: self._logits(p, x[None])[0]), (None, 0))(
            self.final, self._inputs
        )
        stacked = torch.cat([part.flatten(2) for part in jacobian.values()], dim=2).double()
        chances = self._logits(self.final, self._inputs).softmax(dim=1).double()
        hessian = torch.diag_embed(chances) - chances[:, :, None] * chances[:, None]
        return torch.einsum("ncp,ncd,ndq->pq", stacked, hessian, stacked) / TRAIN

    def grad_dot(self) -> Tensor:
        return -self.train_gradients(self.final) @ self.margin_gradient(self.final)

    def tracin(self) -> Tensor:
        found = torch.zeros(TRAIN)
        for checkpoint in self.task.checkpoints:
            there = dict(checkpoint.tensors())
            found -= checkpoint.learning_rate * self.train_gradients(there) @ self.margin_gradient(there)
        return found

    def arnoldi(self) -> Tensor:
        """Influence within the space where the curvature is not zero."""
        values, basis = torch.linalg.eigh(self.gauss_newton())
        kept = values > 1e-6 * values.max()
        solved = basis[:, kept] @ (
            (basis[:, kept].T @ self.margin_gradient(self.final).double()) / values[kept]
        )
        return -(self.train_gradients(self.final).double() @ solved) / TRAIN


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1)


@pytest.mark.parametrize("method", ["grad_dot", "tracin", "ekfac", "arnoldi", "source"])
def test_scores_are_those_of_a_direct_computation(
    project: Project, tracefix: CommandLine, tmp_path: Path, method: str
) -> None:
    assert availability(project)[method] is None
    wrong = project.mispredictions()[0]["id"]
    outcome = tracefix(
        "explain", project.directory, wrong, "--method", method, "--scores", tmp_path / "s.npy"
    )
    assert outcome.status == 0, outcome.err
    scores = np.load(tmp_path / "s.npy")
    assert scores.dtype == np.float32 and scores.shape == (TRAIN,) and np.isfinite(scores).all()
    task = load_task(project)
    assert len(task.checkpoints) == 6
    oracle = Oracle(task, project.position("test", wrong))
    if method in ("ekfac", "source"):  # no closed form: fresh gradients, without the index
        fresh = Engine(project, device="cpu").explain(wrong, method=method, use_index=False)
        expected = fresh.scores
    else:
        expected = getattr(oracle, method)().numpy()
    if method in ("grad_dot", "tracin"):
        assert np.abs(scores - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.corrcoef(scores, expected)[0, 1] > 0.999
    assert abs(scores.std() / expected.std() - 1) < 0.01


def test_the_culprits_are_in_training_order(project: Project, tracefix: CommandLine, tmp_path: Path) -> None:
    wrong = project.mispredictions()[0]["id"]
    explained = tracefix(
        "explain", project.directory, wrong, "--method", "tracin", "--scores", tmp_path / "s.npy", "--json"
    )
    culprits = json.loads(explained.out)["culprits"]
    scores = np.load(tmp_path / "s.npy")
    assert [int(culprit["id"]) for culprit in culprits] == np.argsort(-scores)[: len(culprits)].tolist()
