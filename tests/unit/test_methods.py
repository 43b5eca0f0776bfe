"""Methods against captum, closed forms and real retraining; one sign for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.influence import TracInCP, TracInCPFast
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from attribution import Checkpoint, Engine, Task
from attribution.batches import gradient_batch_size
from attribution.errors import MissingRequirementError, NotFoundError, UsageError
from attribution.methods import availability, default_method, families, list_methods, method_named
from tests.unit.built_projects import engine_of, with_batches_of
from tests.unit.tiny_models import TRAIN, Pairs, trained_mlp


def tensors(task: Task, split: str) -> TensorDataset:
    data: Any = task.dataset(split)
    return TensorDataset(torch.stack(list(data.inputs)), torch.tensor(data.labels))


def captum_scores(
    engine: Engine, test_id: str, kind: type, checkpoints: list[Checkpoint], **more: Any
) -> Tensor:
    """captum's influence of the loss, Σ η g_test · g_train, in float64."""
    model = trained_mlp().model.double()
    data = tensors(engine.task, "train")
    doubled = TensorDataset(data.tensors[0].double(), data.tensors[1])

    def load(target: nn.Module, checkpoint: Any) -> float:
        target.load_state_dict({name: tensor.double() for name, tensor in checkpoint.tensors().items()})
        return float(checkpoint.learning_rate)

    tracer = kind(
        model=model,
        train_dataset=DataLoader(doubled, batch_size=8),
        checkpoints=checkpoints,
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum" if kind is TracInCPFast else "none"),
        **more,
    )
    position = engine.project.position("test", test_id)
    inputs, targets = tensors(engine.task, "test")[position : position + 1]
    return tracer.influence((inputs.double(), targets))[0].detach()


def relative_difference(found: np.ndarray, expected: Tensor) -> float:
    return float((torch.from_numpy(found).double() - expected).abs().max() / expected.abs().max())


def test_grad_dot_equals_captum_at_one_checkpoint(engine: Engine, misprediction: str) -> None:
    last = engine.task.checkpoints[-1]
    one = Checkpoint(last.state_dict, learning_rate=1.0, step=last.step)
    expected = -captum_scores(engine, misprediction, TracInCP, [one])
    found = engine.explain(misprediction, method="grad_dot", measurement="loss").scores
    assert relative_difference(found, expected) < 1e-4


def test_tracin_equals_captum_over_checkpoints(engine: Engine, misprediction: str) -> None:
    expected = -captum_scores(engine, misprediction, TracInCP, list(engine.task.checkpoints))
    found = engine.explain(misprediction, method="tracin", measurement="loss").scores
    assert relative_difference(found, expected) < 1e-4


def test_last_layer_from_stored_representations_equals_captum_on_the_whole_model(
    engine: Engine, misprediction: str
) -> None:
    expected = -captum_scores(
        engine, misprediction, TracInCPFast, list(engine.task.checkpoints), final_fc_layer="3"
    )
    found = engine.explain(misprediction, method="tracin_last_layer", measurement="loss").scores
    assert relative_difference(found, expected) < 1e-4


def test_gradient_cosine_is_the_cosine(engine: Engine, misprediction: str) -> None:
    scores = engine.explain(misprediction, method="grad_cos").scores
    assert np.abs(scores).max() <= 1 + 1e-5
    dots = engine.explain(misprediction, method="grad_dot").scores
    assert np.array_equal(np.sign(scores), np.sign(dots))


def test_representation_is_the_cosine_signed_by_the_label(engine: Engine, misprediction: str) -> None:
    model = engine.task.model
    features = model[:3]  # type: ignore[index]
    position = engine.project.position("test", misprediction)
    with torch.no_grad():
        train, test = (
            features(tensors(engine.task, "train").tensors[0]),
            features(tensors(engine.task, "test").tensors[0]),
        )
    cosine = nn.functional.cosine_similarity(train, test[position : position + 1])
    row = engine.project.predictions("test").loc[misprediction]
    classes = tensors(engine.task, "train").tensors[1]
    sign = (classes == int(row["predicted"])).double() - (classes == int(row["label"])).double()
    found = engine.explain(misprediction, method="representation").scores
    assert np.allclose(found, (cosine * sign).numpy(), atol=1e-5)


@pytest.mark.parametrize("method", ["grad_dot", "grad_cos", "tracin", "tracin_last_layer", "representation"])
def test_every_method_has_the_same_sign(engine: Engine, misprediction: str, method: str) -> None:
    """No strongest culprit is of the true class, and no strongest helper of the predicted one."""
    explanation = engine.explain(misprediction, method=method)
    assert explanation.example["true"] not in {card["label"] for card in explanation.culprits(3)}
    assert explanation.example["predicted"] not in {card["label"] for card in explanation.helpers(3)}


@pytest.mark.parametrize("method", ["grad_dot", "tracin", "grad_cos"])
def test_batch_size_and_the_index_change_no_score(
    engine: Engine, misprediction: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed = engine.explain(misprediction, method=method).scores
    for size in (1, 7, 64):
        with_batches_of(engine, size, monkeypatch)
        engine._remembered.clear()
        fresh = engine.explain(misprediction, method=method, use_index=False).scores
        assert np.allclose(fresh, indexed, rtol=1e-4, atol=1e-5 * np.abs(indexed).max())
    assert gradient_batch_size(engine.task) == 128


def test_the_order_of_training_examples_changes_no_score(
    tmp_path: Path, engine: Engine, misprediction: str
) -> None:
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(5)).tolist()

    def shuffled() -> Task:
        task = trained_mlp()
        train: Any = task.train
        task.train = Pairs([train.inputs[i] for i in order], [train.labels[i] for i in order])
        task.train_ids = [f"train-{number}" for number in order]
        return task

    other = engine_of(tmp_path / "project", shuffled)
    for method in ("grad_dot", "tracin", "tracin_last_layer", "representation"):
        first = engine.explain(misprediction, method=method).scores[order]
        second = other.explain(misprediction, method=method).scores
        assert np.allclose(first, second, atol=1e-5 * np.abs(first).max()), method


def test_scores_have_the_sign_of_real_retraining(tmp_path: Path) -> None:
    """Logistic regression: taking out an example changes the measurement against the sign of its score."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator)
    classes = (inputs[:, 0] + 0.8 * torch.randn(60, generator=generator) > 0).long()

    def fitted(kept: Tensor) -> nn.Module:
        model = nn.Linear(4, 2)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-10)

        def closure() -> Tensor:
            optimizer.zero_grad()
            losses = nn.functional.cross_entropy(model(inputs[:40]), classes[:40], reduction="none")
            penalty = 0.05 * sum(p.square().sum() for p in model.parameters())
            loss = (losses * kept).sum() / 40 + penalty
            loss.backward()
            return loss

        optimizer.step(closure)
        return model.eval()

    def build() -> Task:
        return Task(
            model=fitted(torch.ones(40)),
            train=Pairs(inputs[:40], classes[:40].tolist()),
            test=Pairs(inputs[40:], classes[40:].tolist()),
            class_names=["no", "yes"],
        )

    engine = engine_of(tmp_path / "project", build)
    wrong = engine.project.mispredictions()[0]
    position = engine.project.position("test", wrong["id"])
    true = int(classes[40 + position])

    def margin(model: nn.Module) -> float:
        logits = model(inputs[40 + position]).detach()
        return float(logits[1 - true] - logits[true])

    whole = margin(fitted(torch.ones(40)))
    changes = []
    for left_out in range(40):
        kept = torch.ones(40)
        kept[left_out] = 0
        changes.append(margin(fitted(kept)) - whole)
    scores = engine.explain(wrong["id"], method="grad_dot").scores
    assert np.corrcoef(-scores, changes)[0, 1] > 0.8


def test_measurements(engine: Engine, misprediction: str, tmp_path: Path) -> None:
    row = engine.project.example("test", misprediction)
    logit = {
        name: engine.explain(misprediction, method="grad_dot", measurement=f"logit:{name}").scores.astype(
            float
        )
        for name in ("a", "b", "c")
    }
    margin = engine.explain(misprediction, method="grad_dot").scores
    assert np.allclose(margin, logit[row["predicted"]] - logit[row["true"]], atol=1e-4 * np.abs(margin).max())
    file = tmp_path / "mine.py"
    file.write_text("def twice(logits, labels):\n    return 2 * logits[:, 0]\n", encoding="utf-8")
    own = engine.explain(misprediction, method="grad_dot", measurement=f"{file}:twice").scores
    assert np.allclose(own, 2 * logit["a"], atol=1e-4 * np.abs(own).max())


def test_the_measurement_of_a_correct_prediction_is_minus_its_log_odds(engine: Engine) -> None:
    from attribution.measurements import measurement_for

    measurement = measurement_for(
        "margin", class_names=["a", "b", "c"], true=1, predicted=1, loss=engine.task.loss
    )
    logits = torch.randn(4, 3, dtype=torch.float64)
    p = logits.softmax(dim=1)[:, 1]
    assert torch.allclose(measurement.value(logits, torch.ones(4)), -torch.log(p / (1 - p)))


def test_explanations_say_what_is_wrong(engine: Engine, misprediction: str) -> None:
    with pytest.raises(NotFoundError, match="did you mean 'tracin'"):
        engine.explain(misprediction, method="tracim")
    with pytest.raises(NotFoundError, match="There is no test example 'nothing'"):
        engine.explain("nothing")
    with pytest.raises(UsageError, match="There is no measurement 'loss2'"):
        engine.explain(misprediction, measurement="loss2")
    with pytest.raises(NotFoundError, match="There is no class 'z'"):
        engine.explain(misprediction, measurement="logit:z")


def test_a_project_without_checkpoints_says_what_tracin_needs(tmp_path: Path) -> None:
    def build() -> Task:
        task = trained_mlp()
        task.checkpoints = ()
        return task

    engine = engine_of(tmp_path / "project", build)
    assert default_method(engine.facts) == "ekfac"
    sentence = availability(engine.project)["tracin"]
    assert sentence is not None and "needs checkpoints" in sentence
    with pytest.raises(MissingRequirementError, match="needs checkpoints"):
        engine.explain(engine.project.mispredictions()[0]["id"], method="tracin")


def test_every_method_says_what_it_is() -> None:
    names = [info.name for info in list_methods()]
    assert {"grad_dot", "grad_cos", "tracin", "tracin_last_layer", "representation"} <= set(names)
    for info in list_methods():
        assert info.title and info.citation and info.cost and info.one_line.endswith(".")


def test_every_method_is_of_one_family() -> None:
    listed = [info.name for infos in families().values() for info in infos]
    assert sorted(listed) == sorted(info.name for info in list_methods())
    assert families()["Along the training run"], "a title of `FAMILIES` holds its methods"


def test_the_contract_of_a_method_is_what_the_command_line_prints() -> None:
    assert set(method_named("ekfac").info.contract()) == {"name", "title", "citation", "needs", "cost"}


def test_lists_are_ordered_and_signed(engine: Engine, misprediction: str) -> None:
    explanation = engine.explain(misprediction)
    culprits, helpers = explanation.culprits(7), explanation.helpers(7)
    assert [c["score"] for c in culprits] == sorted((c["score"] for c in culprits), reverse=True)
    assert [h["score"] for h in helpers] == sorted(h["score"] for h in helpers)
    assert all(c["score"] > 0 for c in culprits) and all(h["score"] < 0 for h in helpers)
    assert culprits[0]["id"].startswith("train-")
