"""Verifying a fix: predicted against retrained changes, what is remembered, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attribution import Engine, Task
from attribution.errors import Cancelled, MissingRequirementError, NotFoundError, ProjectError, UsageError
from attribution.fixing.predicted_change import Predictor, predicting_method
from attribution.fixing.treatment import Treatment
from attribution.fixing.verify import (
    change_of,
    data_changes,
    edits_together,
    mean_margin,
    retrained_outputs,
)
from attribution.methods import DirectionalMethod, method_named
from attribution.progress import SILENT, CancelToken, Reporter
from attribution.projects import Edit, FixRecord, Manifest, Project, TransformersSource
from attribution.relabelling import scores_as_labelled
from attribution.retraining import NO_CHANGES, TrainingRecipe, initial_weights, retrain
from attribution.sources import load_task
from tests.command_line import CommandLine
from tests.unit.built_projects import engine_of
from tests.unit.test_retraining import seeded
from tests.unit.tiny_models import Pairs, small_bert, trained_mlp, word_tokenizer

SIZE, TESTED = 60, 40


def logistic_regression() -> Task:
    """Trained to convergence with full batches and weight decay on classes that overlap: influence is nearly exact."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(SIZE + TESTED, 3, generator=generator)
    noise = torch.randn(SIZE + TESTED, 3, generator=generator)
    labels = (inputs + noise).argmax(dim=1).tolist()

    def make() -> nn.Module:
        return nn.Linear(3, 3)

    task = Task(
        model=make(),
        train=Pairs(inputs[:SIZE], labels[:SIZE]),
        test=Pairs(inputs[SIZE:], labels[SIZE:]),
        class_names=["a", "b", "c"],
        batch_size=SIZE,
        learning_rate=3.0,
        steps=150,
        weight_decay=0.02,
        initial=seeded(make),
    )
    task.model = retrain(task, TrainingRecipe.of(task), 0)
    return task


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_of(tmp_path_factory.mktemp("regression") / "project", logistic_regression)


def kept(engine: Engine, **choices: Any) -> FixRecord:
    """A fix of the worst misprediction, in the history."""
    wrong = engine.project.mispredictions()[0]["id"]
    fix = engine.fix(wrong, steps=3, controls=False, **({"top": 3} | choices))
    engine.project.history.save(fix)
    return fix


def fingerprint(directory: Path) -> dict[str, str]:
    """All files of a folder with their content, but for locks."""
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


def test_predictions_are_those_of_retraining_on_a_logistic_regression(regression: Engine) -> None:
    """Removing, up-weighting and relabelling one example each: correlation > .95 and a slope near 1."""
    engine, task = regression, regression.task
    targets = [engine._target(wrong["id"], "margin") for wrong in engine.project.mispredictions()[:3]]
    method = predicting_method("ekfac", engine.facts)
    predictor = Predictor.of(engine._run, method, targets, SILENT)
    recipe = TrainingRecipe.of(task)
    labels = engine.project.predictions("test")["label"].to_numpy()
    train_labels = engine.project.predictions("train")["label"].to_numpy()
    inputs = torch.stack([task.test[row][0] for row in range(TESTED)])

    def margins(treatment: Treatment | None) -> list[float]:
        changes = NO_CHANGES if treatment is None else data_changes(treatment)
        with torch.no_grad():
            logits = retrain(task, recipe, 0, changes)(inputs).numpy()
        return [mean_margin(logits, [target], labels) for target in targets]

    before = margins(None)
    predicted, actual = [], []
    for position in range(0, SIZE, 10):
        for action in ("upweight", "remove", "relabel"):
            label = int(train_labels[position])
            label = (label + 1) % 3 if action == "relabel" else label
            treatment = Treatment("remove", [position], [action], [label])
            predicted += predictor.changes(treatment)[:, 0].tolist()
            actual += (np.array(margins(treatment)) - before).tolist()
    assert np.corrcoef(predicted, actual)[0, 1] > 0.95
    slope = np.dot(predicted, actual) / np.dot(predicted, predicted)
    assert 0.8 < slope < 1.6


def test_a_score_as_labelled_otherwise_is_the_gradient_of_that_loss(
    engine: Engine, misprediction: str
) -> None:
    method = method_named("tracin")
    assert isinstance(method, DirectionalMethod)
    own = engine.scores([misprediction], method="tracin", use_index=False)[0]
    query = engine._queries(method, [engine._target(misprediction, "margin")], False, False, False, SILENT)[0]
    directions = method.directions(query)
    positions = [3, 8, 21]
    labels = [engine.task.train[position][1] for position in positions]
    found = scores_as_labelled(query, directions, positions, labels)[0]
    torch.testing.assert_close(found, torch.from_numpy(own[positions]).double(), rtol=1e-4, atol=1e-6)
    other = [(label + 1) % 3 for label in labels]
    expected = torch.zeros(3, dtype=torch.float64)
    test_input, test_label = engine.task.test[engine.project.position("test", misprediction)]
    value = query.targets[0].measurement.value
    for point in query.followed:
        model = query.loaded.trajectory.model_at(point)
        parameters = [p for p in model.parameters() if p.requires_grad]
        query_gradient = torch.autograd.grad(
            value(model(test_input.unsqueeze(0)), torch.tensor([test_label])).sum(), parameters
        )
        for row, (position, label) in enumerate(zip(positions, other, strict=True)):
            loss = cross_entropy(model(engine.task.train[position][0].unsqueeze(0)), torch.tensor([label]))
            gradient = torch.autograd.grad(loss, parameters)
            dot = sum(float((a * b).sum()) for a, b in zip(query_gradient, gradient, strict=True))
            expected[row] -= point.learning_rate * dot
    found = scores_as_labelled(query, directions, positions, other)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_without_edits_paired_seeds_agree_exactly(engine: Engine) -> None:
    recipe = TrainingRecipe.of(engine.task)
    assert recipe.from_step == 2, "from the earliest checkpoint"
    found = retrained_outputs(
        engine.project, engine.task, recipe, NO_CHANGES, seeds=2, device=torch.device("cpu"), reporter=SILENT
    )
    for without, with_edits in found.pairs:
        assert np.array_equal(without, with_edits)


def test_the_record_adds_up_and_is_the_latest_in_the_history(engine: Engine) -> None:
    fix = kept(engine, strategy="relabel")
    assert engine.project.history.verification(fix.fix_id) is None
    record = engine.verify(fix.fix_id, seeds=3)
    assert record.predicted == pytest.approx(sum(part.predicted for part in record.parts))
    assert [(part.train_id, part.action) for part in record.parts] == [
        (edit.train_id, edit.action) for edit in fix.edits
    ]
    assert record.actual.mean == pytest.approx(np.mean(record.actual.per_seed))
    assert len(record.actual.per_seed) == len(record.margins_without) == 3
    assert (record.from_step, record.steps) == (2, 30)
    assert 0 <= record.accuracy.with_edits <= 1
    again = engine.verify(fix.fix_id, seeds=3)
    assert again.trained == 3, "models without edits are remembered"
    assert again.actual == record.actual
    assert engine.project.history.verification(fix.fix_id) == again
    assert engine.project.history.verification() == again
    assert engine.project.history.verification("another") is None


def test_what_was_remembered_and_is_damaged_is_trained_again(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    fix = kept(engine)
    first = engine.verify(fix.fix_id, seeds=1)
    (file,) = (engine.project.prepared_directory / "retrained").glob("*/seed-0-*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    again = engine.verify(fix.fix_id, seeds=1)
    assert again.trained == 2
    assert again.actual == first.actual
    assert engine.project.prepared, "what is remembered is no part of what was prepared"


def test_several_targets_are_judged_by_their_mean(regression: Engine) -> None:
    project = regression.project
    wrong = [row["id"] for row in project.mispredictions()[:2]]
    targets = [regression._target(test_id, "margin") for test_id in wrong]
    labels = project.predictions("test")["label"].to_numpy()
    logits = np.random.default_rng(0).normal(size=(TESTED, 3)).astype(np.float32)
    each = [mean_margin(logits, [target], labels) for target in targets]
    assert mean_margin(logits, targets, labels) == pytest.approx(np.mean(each))
    row = project.predictions("test").iloc[targets[0].position]
    expected = (
        logits[targets[0].position, int(row["predicted"])] - logits[targets[0].position, int(row["label"])]
    )
    assert each[0] == pytest.approx(float(expected))


def test_the_interval_is_students() -> None:
    change = change_of([1.0, 2.0, 3.0])
    assert change.interval == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert change_of([1.0]).interval is None


def test_cancelling_leaves_no_trace(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "project", trained_mlp)
    fix = kept(engine)
    engine.explain(fix.test_id)
    before = fingerprint(engine.project.directory)
    token = CancelToken()

    def cancel_in_the_third_training(fraction: float, message: str) -> None:
        if message.startswith("Training 3"):
            token.cancel()

    with pytest.raises(Cancelled):
        engine.verify(fix.fix_id, reporter=Reporter(cancel_in_the_third_training, token))
    assert fingerprint(engine.project.directory) == before


def test_explanations_are_answered_while_models_are_trained(engine: Engine) -> None:
    fix = kept(engine)
    others = iter(engine.project.predictions("test").index)
    answered = []

    def ask(fraction: float, message: str) -> None:
        if message.startswith("Training") and not answered:
            asking = threading.Thread(
                target=lambda: answered.append(engine.explain(str(next(others)))), daemon=True
            )
            asking.start()
            asking.join(30)
            assert answered, "the engine is held while models are trained"

    engine.verify(fix.fix_id, seeds=1, reporter=Reporter(ask))
    assert answered


def test_a_fix_of_several_predictions_is_verified_for_all_of_them(engine: Engine) -> None:
    wrong = [row["id"] for row in engine.project.mispredictions()[:2]]
    fix = engine.fix(wrong, top=4, steps=3, controls=False)
    engine.project.history.save(fix)
    record = engine.verify(fix.fix_id, seeds=2)
    assert record.test_ids == wrong
    assert len(record.parts) == len(fix.edits)


def test_of_fixes_on_top_of_each_other_the_last_edit_of_an_example_counts(engine: Engine) -> None:
    first = kept(engine, strategy="remove")
    edits = [
        Edit(train_id=first.edits[0].train_id, action="upweight"),
        Edit(train_id="train-39", action="remove"),
    ]
    second = first.model_copy(update={"fix_id": "fix-second", "edits": edits, "base": first.fix_id})
    engine.project.history.save(second)
    together = edits_together([first, second])
    assert together == [edits[0], *first.edits[1:], edits[1]]
    record = engine.verify("fix-second", seeds=1)
    assert (record.fix_id, record.beneath) == ("fix-second", [first.fix_id])
    assert [part.action for part in record.parts] == [edit.action for edit in together]


def test_what_cannot_be_verified_is_said(engine: Engine, tmp_path: Path) -> None:
    fix = kept(engine)
    with pytest.raises(UsageError, match="--seeds"):
        engine.verify(fix.fix_id, seeds=0)
    with pytest.raises(NotFoundError, match="no fix 'nobody'"):
        engine.verify("nobody")
    control = kept(engine, strategy="test")
    with pytest.raises(UsageError, match="edits no training data"):
        engine.verify(control.fix_id)

    def poor() -> Task:
        task = trained_mlp()
        task.checkpoints = ()
        return task

    other = engine_of(tmp_path / "poor", poor)
    with pytest.raises(MissingRequirementError, match=r"how many steps .* give steps="):
        other.verify(kept(other).fix_id)


def test_methods_whose_scores_do_not_estimate_retraining_leave_it_to_the_default(engine: Engine) -> None:
    assert predicting_method("ekfac", engine.facts).info.name == "ekfac"
    for name in ("tracin", "representation", "datainf", "trak"):
        assert predicting_method(name, engine.facts).info.name == "path"


def test_an_older_history_has_no_verifications(tmp_path: Path) -> None:
    from attribution.projects import History
    from tests.unit.test_history import record

    history = History(tmp_path)
    history.save(record("old"))
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'verifications'").fetchone()
    assert history.verification("old") is None


def test_the_command_prints_its_contract(tracefix: CommandLine, engine: Engine) -> None:
    fix, place = kept(engine), engine.project.directory
    outcome = tracefix("verify", place, fix.fix_id, "--seeds", "1", "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert {
        "fix_id", "seeds", "predicted", "actual", "retrained_right", "accuracy", "method", "from_step", "steps",
        "verdict", "seconds",
    } <= set(document)  # fmt: skip
    assert (document["fix_id"], document["seeds"], document["from_step"]) == (fix.fix_id, 1, 2)
    assert set(document["actual"]) == {"mean", "interval", "per_seed"}
    assert set(document["retrained_right"]) == set(document["accuracy"]) == {"without", "with"}
    assert document["verdict"].startswith("Cannot tell from one seed")
    shown = tracefix("verify", place, fix.fix_id, "--seeds", "2")
    assert shown.status == 0
    assert "Retrained from step 2 of 30, the earliest checkpoint" in " ".join(shown.out.split())
    assert "'nobody'" in tracefix.refused("verify", place, "nobody")
    tracefix.refused("verify", place, fix.fix_id, "--seeds", "0", status=2)


# -- what training started from -----------------------------------------------------------------------------------


def transformers_source(folder: Path, initial: str | None) -> Project:
    """A small BERT with two tables; not prepared."""
    torch.manual_seed(0)
    (folder / "model").mkdir(parents=True)
    model = small_bert()
    model.config.vocab_size = 11
    model.save_pretrained(folder / "model")
    word_tokenizer().save_pretrained(folder / "model")
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text(
            "text,label\ngood film,LABEL_0\nbad film,LABEL_1\n", encoding="utf-8"
        )
    source = TransformersSource(
        model="model", train="train.csv", test="test.csv", text_column="text", initial=initial
    )
    return Project(folder, Manifest(name="p", title="p", source=source))


def start(project: Project, seed: int) -> Mapping[str, Tensor]:
    return initial_weights(load_task(project), seed)


def test_fresh_weights_of_a_transformers_model_are_those_of_the_seed(tmp_path: Path) -> None:
    project = transformers_source(tmp_path, "fresh")
    first, same, other = start(project, 0), start(project, 0), start(project, 1)
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.items())
    torch.manual_seed(0)
    expected = small_bert().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in first.items())
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_pretrained_folder_gives_what_it_has_and_the_seed_the_rest(tmp_path: Path) -> None:
    project = transformers_source(tmp_path, "pretrained")
    torch.manual_seed(7)
    pretrained = small_bert()
    encoder = {n: t for n, t in pretrained.state_dict().items() if n.startswith("bert.encoder")}
    pretrained.config.save_pretrained(tmp_path / "pretrained")
    from safetensors.torch import save_file

    save_file(encoder, tmp_path / "pretrained" / "model.safetensors", metadata={"format": "pt"})
    first, other = start(project, 0), start(project, 1)
    assert all(torch.equal(first[name], tensor) for name, tensor in encoder.items())
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_missing_pretrained_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"mend 'initial' in project\.json"):
        start(transformers_source(tmp_path, "nowhere"), 0)


def test_what_training_started_from_makes_no_project_stale(tmp_path: Path) -> None:
    said, silent = (transformers_source(tmp_path / (name or "none"), name) for name in ("fresh", None))
    assert said.recipe() == silent.recipe()
    stored = json.loads(silent.manifest.model_dump_json())
    del stored["source"]["initial"]  # as an older version wrote it
    assert Manifest.model_validate(stored) == silent.manifest


def test_new_records_what_training_started_from(tracefix: CommandLine, tmp_path: Path) -> None:
    transformers_source(tmp_path / "given", None)
    parts = ["--model", tmp_path / "given" / "model"]
    for split in ("train", "test"):
        parts += [f"--{split}", tmp_path / "given" / f"{split}.csv"]
    assert tracefix("new", tmp_path / "p", *parts, "--initial", "fresh").status == 0
    assert Project.open(tmp_path / "p").manifest.source.initial == "fresh"  # type: ignore[union-attr]
    folder = tmp_path / "given" / "model"
    assert tracefix("new", tmp_path / "q", *parts, "--initial", folder).status == 0
    assert Project.open(tmp_path / "q").manifest.source.initial == str(folder)  # type: ignore[union-attr]
    assert "no folder" in tracefix.refused("new", tmp_path / "r", *parts, "--initial", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no PyTorch weights" in tracefix.refused(
        "new", tmp_path / "r", *parts, "--initial", tmp_path / "empty"
    )
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    torch.save(load_file(folder / "model.safetensors"), pickled / "pytorch_model.bin")
    shutil.copy(folder / "config.json", pickled)
    assert tracefix("new", tmp_path / "r", *parts, "--initial", pickled).status == 0
    start = load_task(Project.open(tmp_path / "r")).initial
    assert start is not None
    for name, tensor in start(0).items():
        torch.testing.assert_close(tensor, load_file(folder / "model.safetensors")[name], rtol=0, atol=0)
