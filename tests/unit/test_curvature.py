"""Curvature against dense oracles, and influence against real retraining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from transformers.pytorch_utils import Conv1D

from attribution import Checkpoint, Task
from attribution.batches import batch_of
from attribution.capture import GradientCapture
from attribution.capture.layers import ConvolutionLayer
from attribution.curvature import EKFAC, automatic_damping, fit_ekfac
from attribution.curvature.exact import fit_exact
from attribution.curvature.output_hessian import output_hessian
from attribution.curvature.probes import Probes, sampled_labels, signed_direction
from attribution.task import LossFunction, cross_entropy
from tests.unit.built_projects import engine_of
from tests.unit.tiny_models import (
    Pairs,
    TextModel,
    convolutional,
    images,
    labels,
    mlp,
    settled,
    task_of,
    texts,
    trained_mlp,
)

COUNT = 60


def linear_task() -> Task:
    torch.manual_seed(0)
    return task_of(nn.Linear(4, 3), torch.randn(COUNT, 4), labels(COUNT))


def test_the_exact_curvature_of_a_linear_model_is_its_hessian() -> None:
    """For a linear model the Gauss-Newton matrix of cross-entropy is the Hessian, which torch.func gives."""
    task = linear_task()
    found = fit_exact(task, GradientCapture(task, task.model), batch_size=7).matrix
    inputs = torch.stack([task.train[i][0] for i in range(COUNT)])
    classes = torch.tensor(task.train.labels)  # type: ignore[attr-defined]

    def loss(block: Tensor) -> Tensor:  # one row per output: weights, then the bias, as in the block
        parameters = {"weight": block[:, :-1], "bias": block[:, -1]}
        return nn.functional.cross_entropy(functional_call(task.model, parameters, (inputs,)), classes)

    block = torch.cat([task.model.weight, task.model.bias.unsqueeze(1)], dim=1).detach()  # type: ignore[operator,union-attr]
    expected = hessian(loss)(block).reshape(15, 15).double()
    assert torch.allclose(found, expected, atol=1e-6)


def test_exact_inverse_solves_the_system() -> None:
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    curvature = fit_exact(task, capture, batch_size=16)
    vectors = {name: torch.randn(2, *shape) for name, shape in capture.shapes.items()}
    solved = curvature.inverse(vectors, 0.05)
    flat = torch.cat([solved[name].flatten(1) for name in capture.shapes], dim=1).double()
    back = flat @ curvature.matrix + 0.05 * flat
    expected = torch.cat([vectors[name].flatten(1) for name in capture.shapes], dim=1).double()
    assert torch.allclose(back, expected, atol=1e-4)


def test_ekfac_keeps_the_trace_and_equals_the_fisher_in_its_basis() -> None:
    """In its own eigenbasis the diagonal of EK-FAC is exact: the trace is that of the probes' second moment."""
    for model, inputs in (
        (mlp(), torch.randn(COUNT, 5)),
        (convolutional(), images(COUNT)),
        (TextModel(), texts(COUNT)),
        (TextModel(tied=True), texts(COUNT)),
    ):
        task = task_of(settled(model), inputs, labels(COUNT))
        capture = GradientCapture(task, task.model)
        fitted = fit_ekfac(task, capture, batch_size=16, seed=4)
        batch = batch_of(task, "train", range(COUNT))
        value = Probes("signs", task.loss, COUNT, 3, seed=4).at(batch.positions)
        norms = capture.gradients(batch.inputs, batch.labels, value).norm_squared()
        total = sum(int(np.prod(shape)) for shape in capture.shapes.values())
        assert total == sum(parameter.numel() for parameter in model.parameters())  # tied weights once
        assert fitted.mean_eigenvalue() * total == pytest.approx(float(norms.mean()), rel=1e-3)


def transposed_twin(linear: nn.Linear) -> Conv1D:
    """transformers' Conv1D that computes the same: its weight is stored as (inputs, outputs)."""
    twin = Conv1D(linear.out_features, linear.in_features)
    twin.load_state_dict({"weight": linear.weight.T.clone(), "bias": linear.bias.clone()})
    return twin


def test_conv1d_has_the_curvature_of_the_linear_layer_that_it_transposes() -> None:
    """One square layer, where a mix-up of inputs and outputs would pass unseen by shape, and one that is not."""
    torch.manual_seed(0)
    layers = nn.Linear(5, 5), nn.Linear(5, 3)
    plain = nn.Sequential(layers[0], nn.Tanh(), layers[1])
    twin = nn.Sequential(transposed_twin(layers[0]), nn.Tanh(), transposed_twin(layers[1]))
    inputs = torch.randn(COUNT, 5)
    solved = []
    for model in (plain, twin):
        task = task_of(model.eval(), inputs, labels(COUNT))
        capture = GradientCapture(task, model)
        batch = batch_of(task, "train", range(4))
        gradient = capture.gradients(batch.inputs, batch.labels, task.loss).dense()
        ekfac = fit_ekfac(task, capture, batch_size=16, draws=4)
        exact = fit_exact(task, capture, batch_size=16)
        solved.append([capture.to_parameters(c.inverse(gradient, 0.1)) for c in (ekfac, exact)])
    for linear, conv1d in zip(*solved, strict=True):
        for name, tensor in linear.items():
            found = conv1d[name].transpose(1, 2) if name.endswith("weight") else conv1d[name]
            assert torch.allclose(found, tensor, rtol=1e-3, atol=1e-4 * float(tensor.abs().max())), name


def test_eigenvalues_are_means_over_examples() -> None:
    """Every example twice is the same curvature, as it has to be for exp(-ηKσ) and for any damping that is given."""
    torch.manual_seed(0)
    model, inputs, classes = settled(mlp()), torch.randn(COUNT, 5), labels(COUNT)
    found = []
    for times in (1, 2):
        task = task_of(model, inputs.repeat(times, 1), classes * times)
        capture = GradientCapture(task, task.model)
        vectors = {n: torch.ones(1, *shape) for n, shape in capture.shapes.items()}
        ekfac = fit_ekfac(task, capture, batch_size=16, probe="empirical")
        found.append(
            [ekfac.inverse(vectors, 0.1), fit_exact(task, capture, batch_size=16).inverse(vectors, 0.1)]
        )
    for once, twice in zip(*found, strict=True):
        assert all(torch.allclose(once[name], twice[name], rtol=1e-3, atol=1e-3) for name in once)


def test_batch_size_changes_no_curvature() -> None:
    task = task_of(settled(convolutional()), images(COUNT), labels(COUNT))
    capture = GradientCapture(task, task.model)
    vectors = {name: torch.randn(1, *shape) for name, shape in capture.shapes.items()}
    first, second = (fit_ekfac(task, capture, batch_size=size).inverse(vectors, 0.1) for size in (7, 60))
    for name in vectors:
        assert torch.allclose(first[name], second[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 5])
def test_the_form_of_the_inverse_is_its_inner_product(count: int) -> None:
    task = task_of(settled(convolutional()), images(COUNT), labels(COUNT))
    capture = GradientCapture(task, task.model)
    fitted = fit_ekfac(task, capture, batch_size=16)
    generator = torch.Generator().manual_seed(count)
    vectors = {
        name: torch.randn(count, *block.eigenvalues.shape, generator=generator)
        for name, block in fitted.blocks.items()
    }
    solved = fitted.inverse(vectors, 0.1)
    expected = sum((vectors[name].double() * solved[name].double()).flatten(1).sum(dim=1) for name in vectors)
    torch.testing.assert_close(fitted.inverse_form(vectors, 0.1), expected, rtol=1e-5, atol=0)
    alone = [
        fitted.inverse({name: v[row : row + 1] for name, v in vectors.items()}, 0.1) for row in range(count)
    ]
    for name in vectors:
        torch.testing.assert_close(
            torch.cat([one[name] for one in alone]), solved[name], rtol=1e-4, atol=1e-6
        )


def test_gradients_that_were_kept_give_the_same_curvature_as_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = task_of(settled(convolutional()), images(COUNT), labels(COUNT))
    capture = GradientCapture(task, task.model)
    kept = fit_ekfac(task, capture, batch_size=16)
    monkeypatch.setattr("attribution.curvature.ekfac.HELD", 50_000)  # some of the batches, not all
    anew = fit_ekfac(task, capture, batch_size=16)
    for name, block in kept.blocks.items():
        assert torch.equal(block.eigenvalues, anew.blocks[name].eigenvalues)


@pytest.mark.parametrize("size", [1, 60])
def test_bases_of_convolutions_come_from_the_same_examples_whatever_the_batches(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attribution.curvature.ekfac.SMALLEST_SAMPLE", 20)
    monkeypatch.setattr("attribution.curvature.ekfac.ROWS_PER_COLUMN", 1)
    task = task_of(settled(convolutional()), images(COUNT), labels(COUNT))
    capture = GradientCapture(task, task.model)
    fitted = fit_ekfac(task, capture, batch_size=size)
    few = fit_ekfac(task, capture, batch_size=16, positions=range(0, COUNT, COUNT // 20))
    for name, layer in capture.layers.items():
        if type(layer) is ConvolutionLayer:
            for found, expected in (
                (fitted.blocks[name].left, few.blocks[name].left),
                (fitted.blocks[name].right, few.blocks[name].right),
            ):
                assert found is not None and expected is not None
                assert torch.allclose((found.T @ expected).abs(), torch.eye(len(found)), atol=1e-2)


def test_saving_keeps_every_number(tmp_path: Path) -> None:
    task = task_of(settled(mlp()), torch.randn(COUNT, 5), labels(COUNT))
    capture = GradientCapture(task, task.model)
    fitted = fit_ekfac(task, capture, batch_size=16)
    fitted.save(tmp_path / "curvature.safetensors")
    loaded = EKFAC.load(tmp_path / "curvature.safetensors")
    vectors = {name: torch.randn(1, *shape) for name, shape in capture.shapes.items()}
    first, second = fitted.inverse(vectors, 0.1), loaded.inverse(vectors, 0.1)
    assert all(torch.allclose(first[name], second[name], rtol=1e-5, atol=1e-5) for name in vectors)


def focal(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss that is not cross-entropy, with a positive definite part."""
    return cross_entropy(logits, labels) * 2 + 0.1 * logits.square().sum(dim=1)


def capped(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss that looks at its numbers: one-hot targets, and wrong answers beyond a margin count linearly."""
    targets = nn.functional.one_hot(labels, logits.shape[1]).to(logits)
    missed = (targets - logits.softmax(dim=1)).square().sum(dim=1)
    return torch.stack([value if value < 0.5 else value - 0.1 for value in missed]) + 0.2 * (
        logits * targets
    ).sum(dim=1)


def linear(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss without curvature."""
    return -logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss with conditions on its numbers, curved in parts: squared hinge."""
    own = logits.gather(1, labels.unsqueeze(1))
    return (1 + logits - own).clamp_min(0.0).square().sum(dim=1)


@pytest.mark.parametrize("loss", [cross_entropy, focal, capped, linear, hinge])
def test_the_output_hessian_is_that_of_each_example_alone(loss: LossFunction) -> None:
    logits, classes = 2 * torch.randn(9, 4), torch.randint(4, (9,))
    found = output_hessian(loss, logits, classes)
    for row, label, matrix in zip(logits, classes, found, strict=True):
        expected = torch.autograd.functional.hessian(
            lambda one, label=label: loss(one.unsqueeze(0), label.unsqueeze(0))[0], row
        )
        values, basis = torch.linalg.eigh(expected)
        assert torch.allclose(matrix, basis * values.clamp_min(0.0) @ basis.T, atol=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_signed_directions_have_the_output_hessian_as_second_moment(loss: LossFunction) -> None:
    """Over all 2^C signs the mean of u uᵀ is the Hessian of the loss in the logits, exactly."""
    logits, classes = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
    moment = torch.zeros(5, 3, 3, dtype=torch.float64)
    for corner in corners:
        direction = signed_direction(loss, logits, classes, corner.expand(5, 3))
        moment += torch.einsum("bc,bd->bcd", direction, direction) / len(corners)
    assert torch.allclose(moment, output_hessian(loss, logits, classes).double(), atol=1e-5)


@pytest.mark.parametrize("model_seed", range(4))
def test_signs_need_fewer_examples_than_sampled_labels_where_the_model_is_confident(model_seed: int) -> None:
    """The traces of the same matrix, estimated from single draws: signs scatter far less.

    Every example is confident, p about .98: of examples in doubt sampled labels say as much.
    """
    generator = torch.Generator().manual_seed(model_seed)
    classes = torch.tensor(labels(COUNT, seed=model_seed))
    inputs = 5 * torch.eye(3)[classes] + 0.5 * torch.randn(COUNT, 3, generator=generator)
    model = nn.Linear(3, 3)
    model.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})
    task = task_of(model, inputs, classes.tolist())
    capture = GradientCapture(task, task.model)
    spread = {}
    for probe in ("signs", "sampled"):
        traces = [
            fit_ekfac(task, capture, batch_size=COUNT, seed=seed, probe=probe).mean_eigenvalue()
            for seed in range(20)
        ]
        spread[probe] = np.std(traces) / np.mean(traces)
    assert spread["signs"] < 0.5 * spread["sampled"]


def test_sampled_labels_follow_the_model() -> None:
    logits = torch.log(torch.tensor([0.2, 0.5, 0.3])).repeat(30_000, 1)
    drawn = sampled_labels(logits, torch.rand(30_000, generator=torch.Generator().manual_seed(0)))
    shares = torch.bincount(drawn, minlength=3) / 30_000
    assert torch.allclose(shares, torch.tensor([0.2, 0.5, 0.3]), atol=0.01)


def test_the_damping_rule() -> None:
    data = Pairs([torch.zeros(2)] * 2, [0, 1])
    common = {"model": nn.Linear(2, 2), "train": data, "test": data, "class_names": ["a", "b"]}
    linear_decay = Task(
        **common,
        momentum=0.9,
        learning_rate=0.1,
        steps=400,
        checkpoints=[Checkpoint({}, 0.05, 200), Checkpoint({}, 0.0, 400)],
    )
    # Half of 0.1 on average over 400 steps is 20, and momentum makes it 200.
    assert automatic_damping(linear_decay).absolute(123.0) == pytest.approx(0.1 / 200)
    unknown = automatic_damping(Task(**common))
    assert (
        unknown.relative
        and unknown.absolute(2.0) == pytest.approx(0.2)
        and "0.1 of the mean" in unknown.reason
    )
    assert automatic_damping(Task(**common, optimizer="adamw", learning_rate=0.1, steps=5)).relative


def test_influence_is_the_effect_of_leaving_out(tmp_path: Path) -> None:
    """Regularised logistic regression, where EK-FAC's only layer is checked against real leave-one-out retraining."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 4, generator=generator)
    classes = (inputs[:, 0] + 0.8 * torch.randn(100, generator=generator) > 0).long()
    count, strength = 80, 0.05

    def fitted(kept: Tensor) -> nn.Module:
        model = nn.Linear(4, 2)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.LBFGS(
            model.parameters(), max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            losses = nn.functional.cross_entropy(model(inputs[:count]), classes[:count], reduction="none")
            loss = (losses * kept).sum() / count + strength / 2 * sum(
                p.square().sum() for p in model.parameters()
            )
            loss.backward()
            return loss

        optimizer.step(closure)
        return model.eval()

    task = Task(
        model=fitted(torch.ones(count)),
        train=Pairs(inputs[:count], classes[:count].tolist()),
        test=Pairs(inputs[count:], classes[count:].tolist()),
        class_names=["no", "yes"],
    )
    capture = GradientCapture(task, task.model)
    curvature = fit_exact(task, capture, batch_size=40)
    train = batch_of(task, "train", range(count))
    gradients = capture.gradients(train.inputs, train.labels, task.loss)
    test = batch_of(task, "test", [3])

    def margin(logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 1] - logits[:, 0]

    query = capture.gradients(test.inputs, test.labels, margin).dense()
    scores = -gradients.dot(curvature.inverse(query, strength))[:, 0] / count
    whole = float(margin(task.model(test.inputs), test.labels).detach())
    changes = []
    for left_out in range(count):
        kept = torch.ones(count)
        kept[left_out] = 0
        changes.append(float(margin(fitted(kept)(test.inputs), test.labels).detach()) - whole)
    slope, _ = np.polyfit(-scores.numpy(), changes, 1)
    assert np.corrcoef(-scores.numpy(), changes)[0, 1] > 0.99
    assert slope == pytest.approx(1, abs=0.1)


def test_ekfac_and_path_explain(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    wrong = engine.project.mispredictions()[0]["id"]
    for method in ("ekfac", "path"):
        indexed = engine.explain(wrong, method=method)
        fresh = engine.explain(wrong, method=method, use_index=False)
        assert np.allclose(indexed.scores, fresh.scores, rtol=1e-3, atol=1e-4 * np.abs(fresh.scores).max())
    assert (engine.project.prepared_directory / "index" / "point-0" / "curvature.safetensors").exists()
