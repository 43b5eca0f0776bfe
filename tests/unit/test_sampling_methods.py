"""Methods that project or step or mask: TRAK, mirrored influence, turn-over dropout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from attribution import Engine, Task
from attribution.capture import GradientCapture
from attribution.errors import MissingRequirementError, UsageError
from attribution.linear_head import fit_head, with_ones
from attribution.methods import availability, method_named
from attribution.methods.forward_inf import ForwardInfluence
from attribution.methods.trak import SEED, Trak, trak_kernel
from attribution.query import Query
from attribution.sketch import CountSketch, log_odds
from attribution.task import cross_entropy
from attribution.trust import spearman
from attribution.turnover import TurnoverDropout, masked, unit_mask
from tests.unit.built_projects import engine_of, with_batches_of
from tests.unit.tiny_models import TRAIN, Pairs, convolutional, images, labels, settled, trained_mlp


def train_tensors(engine: Engine) -> tuple[Tensor, Tensor]:
    data = engine.task.train
    return torch.stack(list(data.inputs)), torch.tensor(data.labels)  # type: ignore[attr-defined]


def dense_projection(sketch: CountSketch, capture: GradientCapture) -> dict[str, Tensor]:
    """The matrix (width, P) of the projection, by block: what it makes of unit vectors."""
    columns = {}
    for name, shape in capture.shapes.items():
        size = torch.Size(shape).numel()
        units = {n: torch.zeros(size, *s) for n, s in capture.shapes.items()}
        units[name] = torch.eye(size).reshape(size, *shape)
        columns[name] = sketch.of(units).T
    return columns


def test_trak_is_its_formula_at_the_same_projection(engine: Engine) -> None:
    """As traker computes it: φ = P ∇log(p/(1 - p)) by torch.func, φ_f (ΦᵀΦ)⁻¹ φ_i (1 - p_i), of the true class."""
    model = engine.task.model
    inputs, classes = train_tensors(engine)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    capture = GradientCapture(engine.task, model)
    projection = dense_projection(CountSketch(capture.shapes, TRAIN // 8, SEED), capture)

    def odds(parameters: dict[str, Tensor], one: Tensor, label: Tensor) -> Tensor:
        p = functional_call(model, parameters, (one.unsqueeze(0),))[0].double().softmax(dim=0)
        chance = p.gather(0, label.unsqueeze(0)).sum()
        return torch.log(chance / (1 - chance))

    def features(inputs: Tensor, classes: Tensor) -> Tensor:
        gradients = vmap(grad(odds), in_dims=(None, 0, 0))(parameters, inputs, classes)
        blocks = capture.from_parameters(gradients)
        return torch.stack([blocks[n].flatten(1).double() @ projection[n].double().T for n in blocks]).sum(
            dim=0
        )

    rows = engine.project.predictions("test").reset_index()
    right = rows[rows["label"] == rows["predicted"]]
    asked = [engine.task.test[position] for position in right.index]
    queries = features(torch.stack([one for one, _ in asked]), torch.tensor([label for _, label in asked]))
    with torch.no_grad():
        residuals = 1 - model(inputs).double().softmax(dim=1)[torch.arange(TRAIN), classes]
    phi = features(inputs, classes)
    expected = (queries @ torch.linalg.inv(phi.T @ phi) @ phi.T * residuals).numpy()
    # The margin of a right prediction is minus the log-odds of its class.
    found = -engine.scores(right["id"].astype(str).tolist(), method="trak")
    for mine, theirs in zip(found, expected, strict=True):
        assert np.corrcoef(mine, theirs)[0, 1] > 0.999
        assert np.allclose(mine, theirs, rtol=1e-2, atol=1e-3 * np.abs(theirs).max())


def test_without_projection_trak_is_the_influence_function_of_logistic_regression() -> None:
    """With weights p(1 - p) left out, as TRAK does, the matrix is ΦᵀΦ: a least-squares problem solved by torch."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    queries = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    residuals = torch.rand(30, generator=generator, dtype=torch.float64)
    expected = queries @ torch.linalg.lstsq(features, torch.diag(residuals)).solution
    assert torch.allclose(trak_kernel(features, queries) * residuals, expected)


def test_trak_has_the_sign_of_the_influence_function(engine: Engine) -> None:
    wrong = [str(row["id"]) for row in engine.project.mispredictions()]
    trak, exact = (engine.scores(wrong, method=method) for method in ("trak", "exact"))
    agreement = [np.corrcoef(*pair)[0, 1] for pair in zip(trak, exact, strict=True)]
    assert np.mean(agreement) > 0.5 and min(agreement) > 0


def test_trak_refuses_more_dimensions_than_examples(engine: Engine) -> None:
    features, queries = torch.randn(5, 8), torch.randn(1, 8)
    with pytest.raises(UsageError, match="8 dimensions needs at least as many examples, and there are 5"):
        trak_kernel(features, queries)
    assert bool(torch.isfinite(trak_kernel(features, queries, ridge=0.1)).all())
    assert "more than the 40 training examples" in str(Trak(width=64).missing(engine.facts))
    assert Trak(width=64, ridge=0.1).missing(engine.facts) is None


def test_the_projection_keeps_inner_products_on_average() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 1, 300, generator=generator)
    values = []
    for seed in range(300):
        sketch = CountSketch({"a": (10, 20), "b": (100,)}, 64, seed)
        parts = [{"a": v[:, :200].reshape(1, 10, 20), "b": v[:, 200:]} for v in (first, second)]
        values.append(float((sketch.of(parts[0]) * sketch.of(parts[1])).sum()))
    spread = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - float((first * second).sum())) < 4 * spread


def test_log_odds() -> None:
    logits = torch.randn(6, 4, dtype=torch.float64)
    classes = torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(dim=1)[torch.arange(6), classes]
    assert torch.allclose(log_odds(logits, classes), torch.log(p / (1 - p)))


def test_small_mirrored_steps_give_the_gradient_dot_product(
    engine: Engine, misprediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adam's first step is the sign of the gradient, so the first-order change is -sign(g_f) · g_i."""
    query = Query(engine._loaded, [engine._target(misprediction, "margin")])
    signs = {name: tensor.sign() for name, tensor in query.gradient(query.final).items()}
    expected = -query.restricted(range(TRAIN)).dots(query.final, signs)[0] * 1e-4
    found = ForwardInfluence(learning_rate=1e-4).scores(query)[0]
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-2


def test_mirrored_influence_is_the_change_of_losses_and_leaves_the_model_alone(
    engine: Engine, misprediction: str
) -> None:
    trajectory = engine._loaded.trajectory
    before = {n: t.clone() for n, t in trajectory.model_at(trajectory.final).state_dict().items()}
    found = engine.explain(misprediction, method="forward_inf").scores
    after = trajectory.model_at(trajectory.final)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())
    assert all(p.grad is None for p in after.parameters())
    inputs, classes = train_tensors(engine)
    target = engine._target(misprediction, "margin")
    one, label = engine.task.test[target.position]
    losses = []
    for sign in (1, -1):
        model = trained_mlp().model
        value = target.measurement.value(model(one.unsqueeze(0)), torch.tensor([label])).sum()
        gradients = torch.autograd.grad(value, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p += sign * 5e-3 * g / (g.abs() + 1e-8)
            losses.append(nn.functional.cross_entropy(model(inputs), classes, reduction="none"))
    expected = ((losses[1] - losses[0]) / 2).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def trained_convolutional() -> Task:
    """A network with batch normalisation and dropout, which a forward pass in training mode would change."""
    torch.manual_seed(0)
    inputs, classes = images(TRAIN + 12), labels(TRAIN + 12)
    layers = list(settled(convolutional()).children())
    return Task(
        model=nn.Sequential(*layers[:-1], nn.Dropout(0.5), layers[-1]).eval(),
        train=Pairs(inputs[:TRAIN], classes[:TRAIN]),
        test=Pairs(inputs[TRAIN:], classes[TRAIN:]),
        class_names=["a", "b", "c"],
    )


def test_mirrored_influence_leaves_every_bit_of_a_model_with_running_statistics(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_convolutional)
    trajectory = engine._loaded.trajectory
    model = trajectory.model_at(trajectory.final)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    test_ids = [str(number) for number in range(3)]
    first = engine.scores(test_ids, method="forward_inf")
    after = trajectory.model_at(trajectory.final)
    assert any("running_var" in name for name in before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())
    assert not any(module.training for module in after.modules())
    assert all(p.grad is None and p.requires_grad for p in after.parameters())
    assert np.array_equal(engine.scores(test_ids, method="forward_inf"), first)


def turned_over() -> Task:
    """Random labels, which each example has to be learnt by heart by its own units."""
    torch.manual_seed(0)
    inputs = torch.randn(TRAIN + 12, 5)
    classes = labels(TRAIN + 12)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), TurnoverDropout(32), nn.Linear(32, 3))
    names = [f"example {number}" for number in range(TRAIN)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        with masked(model, names):
            loss = nn.functional.cross_entropy(model(inputs[:TRAIN]), torch.tensor(classes[:TRAIN]))
        loss.backward()
        optimizer.step()
    return Task(
        model=model,
        train=Pairs(inputs[:TRAIN], classes[:TRAIN]),
        test=Pairs(torch.cat([inputs[TRAIN:], inputs[:8]]), classes[TRAIN:] + classes[:8]),
        class_names=["a", "b", "c"],
        train_ids=names,
        optimizer="adam",
    )


def test_turnover_dropout_finds_the_example_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test examples that repeat a training example: that one lowers their loss the most, nearly always."""
    engine = engine_of(tmp_path / "project", turned_over)
    assert availability(engine.project)["turnover_dropout"] is None
    ids = [str(number) for number in range(12, 20)]
    scores = engine.scores(ids, method="turnover_dropout", measurement="loss")
    ranks = [int((row < row[number]).sum()) for number, row in enumerate(scores)]
    assert np.mean(ranks) < 0.25 * TRAIN  # by chance half of them would rank before it
    with_batches_of(engine, 7, monkeypatch)
    again = engine.scores(ids, method="turnover_dropout", measurement="loss")
    assert np.allclose(scores, again, atol=1e-5)


def test_turnover_dropout_is_the_difference_of_two_forward_passes(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", turned_over)
    scores = engine.scores(["3"], method="turnover_dropout", measurement="logit:b")[0]
    model = engine.task.model.eval()
    with torch.no_grad():
        hidden = torch.relu(model[0](engine.task.test[3][0]))  # type: ignore[index,operator]
        for position in (0, 17):
            mask = torch.from_numpy(unit_mask(f"example {position}", 32, 0)).float()
            seen, unseen = (model[3](2 * hidden * kept)[1] for kept in (mask, 1 - mask))  # type: ignore[index,operator]
            assert scores[position] == pytest.approx(float(seen - unseen), abs=1e-5)


def test_masks_are_the_same_in_another_process() -> None:
    code = "from attribution.turnover import unit_mask; print(unit_mask('example 7', 45, 3).tolist())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    mine = unit_mask("example 7", 45, 3)
    assert ran.stdout.strip() == str(mine.tolist())
    assert len(mine) == 45 and set(mine.tolist()) == {0, 1}
    assert not np.array_equal(mine, unit_mask("example 8", 45, 3))
    assert not np.array_equal(mine, unit_mask("example 7", 45, 4))


def test_a_usual_model_is_told_what_turnover_dropout_needs(engine: Engine, misprediction: str) -> None:
    assert "TurnoverDropout layers" in str(method_named("turnover_dropout").missing(engine.facts))
    with pytest.raises(MissingRequirementError, match="needs a model trained with turn-over dropout"):
        engine.explain(misprediction, method="turnover_dropout")


@pytest.mark.parametrize("method", ["trak", "forward_inf"])
def test_batch_size_changes_no_score(
    tmp_path: Path, engine: Engine, misprediction: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = engine.explain(misprediction, method=method).scores
    other = engine_of(tmp_path / "project", trained_mlp)
    with_batches_of(other, 7, monkeypatch)
    second = other.explain(misprediction, method=method).scores
    assert np.allclose(first, second, rtol=1e-3, atol=1e-4 * np.abs(first).max())


def test_mirrored_influence_ranks_like_leaving_out_on_a_convex_model(tmp_path: Path) -> None:
    """Regularised logistic regression: the change of the test loss when each example is really left out."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    classes = (inputs[:, 0] + 0.8 * torch.randn(60, generator=generator) > 0).long()

    def fitted(left_out: int | None) -> Tensor:
        kept = torch.ones(40, dtype=torch.float64)
        if left_out is not None:
            kept[left_out] = 0
        return fit_head(with_ones(inputs[:40]), classes[:40], 2, cross_entropy, 0.5, weights=kept)

    def build() -> Task:
        model = nn.Linear(4, 2)
        whole = fitted(None).float()
        model.load_state_dict({"weight": whole[:, :-1], "bias": whole[:, -1]})
        return Task(
            model=model,
            train=Pairs(inputs[:40], classes[:40].tolist()),
            test=Pairs(inputs[40:], classes[40:].tolist()),
            class_names=["no", "yes"],
        )

    engine = engine_of(tmp_path / "project", build)
    scores = engine.scores([str(number) for number in range(20)], method="forward_inf", measurement="loss")
    test = with_ones(inputs[40:])
    losses = torch.stack([cross_entropy(test @ fitted(out).T, classes[40:]) for out in [None, *range(40)]])
    real = losses[0] - losses[1:]  # (40, 20): what training on the example added to the loss
    agreement = [spearman(torch.from_numpy(row), column) for row, column in zip(scores, real.T, strict=True)]
    assert np.mean(agreement) > 0.8
