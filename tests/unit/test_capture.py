"""Per-example gradients against torch.func, for every kind of layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from transformers import GPT2Config, GPT2ForSequenceClassification

from attribution import Task
from attribution.batches import Batch, batch_of, batches
from attribution.capture import GradientCapture
from attribution.errors import NumericalError, UsageError
from tests.unit.tiny_models import (
    OneDimensional,
    TextModel,
    convolutional,
    images,
    labels,
    mlp,
    settled,
    small_bert,
    task_of,
    texts,
)

COUNT = 9


def small_gpt2() -> nn.Module:
    config = GPT2Config(
        vocab_size=11,
        n_positions=16,
        n_embd=8,
        n_layer=1,
        n_head=2,
        num_labels=3,
        pad_token_id=0,
        resid_pdrop=0.0,
    )
    return GPT2ForSequenceClassification(config)


def image_task(model: nn.Module) -> Task:
    return task_of(model, images(COUNT), labels(COUNT))


def text_task(model: nn.Module) -> Task:
    return task_of(model, texts(COUNT), labels(COUNT))


TASKS: dict[str, Callable[[], Task]] = {
    "mlp": lambda: task_of(mlp(), torch.randn(COUNT, 5), labels(COUNT)),
    "linear over positions": lambda: task_of(
        nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
        images(COUNT),
        labels(COUNT),
    ),
    "convolutional": lambda: image_task(convolutional()),
    "one-dimensional convolution": lambda: image_task(OneDimensional()),
    "text": lambda: text_task(TextModel()),
    "tied embeddings": lambda: text_task(TextModel(tied=True)),
    "bert": lambda: text_task(small_bert()),
    "gpt2": lambda: text_task(small_gpt2()),
}


def oracle(task: Task, batch: Batch) -> dict[str, Tensor]:
    """Gradients by torch.func, one example after the other."""
    parameters = {name: p.detach() for name, p in task.model.named_parameters() if p.requires_grad}

    def loss(chosen: dict[str, Tensor], row: int) -> Tensor:
        one: Any = (
            {k: v[row : row + 1] for k, v in batch.inputs.items()}
            if not isinstance(batch.inputs, Tensor)
            else batch.inputs[row : row + 1]
        )
        output = functional_call(
            task.model, chosen, () if isinstance(one, dict) else (one,), one if isinstance(one, dict) else {}
        )
        logits = output if isinstance(output, Tensor) else output.logits
        return task.loss(logits, batch.labels[row : row + 1]).sum()

    rows = [grad(lambda chosen, row=row: loss(chosen, row))(parameters) for row in range(len(batch))]
    return {name: torch.stack([row[name].detach() for row in rows]) for name in parameters}


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    first = {name: tensor.detach() for name, tensor in first.items()}
    scale = max(float(tensor.detach().abs().max()) for tensor in second.values())
    return max(float((first[name] - second[name]).abs().max()) for name in second) / scale


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    torch.manual_seed(0)
    made = TASKS[request.param]()
    settled(made.model)
    return made


def test_per_example_gradients_equal_torch_func(task: Task) -> None:
    batch = batch_of(task, "train", range(COUNT))
    capture = GradientCapture(task, task.model)
    found = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, task.loss))
    assert largest_difference(found, oracle(task, batch)) < 1e-5


def test_dot_products_and_norms_need_no_dense_gradients(task: Task) -> None:
    batch = batch_of(task, "train", range(COUNT))
    gradients = GradientCapture(task, task.model).gradients(batch.inputs, batch.labels, task.loss)
    dense = gradients.dense()
    flat = torch.cat([block.flatten(1) for block in dense.values()], dim=1)
    gram = flat @ flat.T
    for queries in (1, 4):
        asked = {name: block[:queries] for name, block in dense.items()}
        assert torch.allclose(gradients.dot(asked), gram[:, :queries], atol=1e-5 * float(gram.abs().max()))
    assert torch.allclose(gradients.norm_squared(), gram.diagonal(), rtol=1e-4)


def test_projection_from_factors_equals_projection_of_the_gradient(task: Task) -> None:
    batch = batch_of(task, "train", range(COUNT))
    gradients = GradientCapture(task, task.model).gradients(batch.inputs, batch.labels, task.loss)
    for block in gradients.blocks.values():
        dense = block.dense()
        matrix = dense if dense.dim() == 3 else dense.unsqueeze(1)
        left, right = torch.randn(2, matrix.shape[1]), torch.randn(3, matrix.shape[2])
        for a, b in ((left, right), (None, right), (left, None), (None, None)):
            expected = matrix
            expected = expected if a is None else torch.einsum("po,boi->bpi", a, expected)
            expected = expected if b is None else torch.einsum("qi,bpi->bpq", b, expected)
            assert torch.allclose(block.project(a, b), expected.flatten(1), atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_batch_size_and_order_change_no_gradient(task: Task, size: int) -> None:
    reference = oracle(task, batch_of(task, "train", range(COUNT)))
    capture = GradientCapture(task, task.model)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(size)).tolist()
    found = {name: torch.empty_like(tensor) for name, tensor in reference.items()}
    for batch in batches(task, "train", size, order):
        part = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, task.loss))
        for name, tensor in part.items():
            found[name][batch.positions] = tensor
    assert largest_difference(found, reference) < 1e-5


def test_known_layers_need_no_general_path() -> None:
    for name in ("mlp", "convolutional", "bert", "gpt2"):
        task = TASKS[name]()
        assert GradientCapture(task, task.model.eval()).fallback == []
    assert GradientCapture(TASKS["text"](), TextModel().eval()).fallback == ["gate.strength"]


def test_shared_parameters_are_counted_once() -> None:
    task = TASKS["tied embeddings"]()
    names = set(GradientCapture(task, task.model.eval()).shapes)
    assert "embedding.weight" in names and "decoder" not in names and "embedding" not in names


def test_frozen_parameters_are_left_out() -> None:
    task = TASKS["bert"]()
    for name, parameter in task.model.named_parameters():
        parameter.requires_grad_(name.startswith(("bert.encoder.layer.1", "classifier")))
    capture = GradientCapture(task, settled(task.model))
    batch = batch_of(task, "train", range(COUNT))
    found = capture.by_parameter(capture.gradients(batch.inputs, batch.labels, task.loss))
    assert set(found) == set(task.trained_parameters())
    assert largest_difference(found, oracle(task, batch)) < 1e-5


def test_the_model_is_left_as_it_was(task: Task) -> None:
    before = {name: tensor.clone() for name, tensor in task.model.state_dict().items()}
    batch = batch_of(task, "train", range(COUNT))
    GradientCapture(task, task.model).gradients(batch.inputs, batch.labels, task.loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in task.model.state_dict().items())
    assert all(parameter.grad is None for parameter in task.model.parameters())
    assert not any(module._forward_hooks for module in task.model.modules())


def test_a_model_that_gives_nan_is_refused_with_advice() -> None:
    task = TASKS["mlp"]()
    with torch.no_grad():
        next(task.model.parameters()).fill_(float("nan"))
    batch = batch_of(task, "train", range(COUNT))
    with pytest.raises(NumericalError, match="NaN or infinite: check"):
        GradientCapture(task, task.model.eval()).gradients(batch.inputs, batch.labels, task.loss)


def test_a_model_with_nothing_trained_is_refused() -> None:
    task = TASKS["mlp"]()
    task.model.requires_grad_(False)
    with pytest.raises(UsageError, match="requires_grad"):
        GradientCapture(task, task.model)
