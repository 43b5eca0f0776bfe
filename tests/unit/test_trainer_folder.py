"""`tracefix new` on the output folder of the transformers Trainer: what it takes over of the training run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from attribution import Project
from attribution.curvature.damping import rate_sum
from attribution.errors import ProjectError
from attribution.projects import Manifest, TransformersSource
from attribution.sources import load_task
from attribution.sources.found_training import training_summary
from attribution.sources.optimizer_state import OptimizerState
from attribution.task import Task
from dashboard.new_project import Table, create, from_tables
from tests.command_line import CommandLine
from tests.unit.tiny_models import small_bert
from tests.unit.trainer_output import (
    DECAY,
    PEAK,
    SAVED,
    STEPS,
    Made,
    Touching,
    run_like_the_trainer,
    table,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run with AdamW; not to be changed."""
    return run_like_the_trainer(tmp_path_factory.mktemp("adamw") / "output")


@pytest.fixture
def made(shared: Made, tmp_path: Path) -> Made:
    """A copy of it that a test may change."""
    shutil.copytree(shared.folder, tmp_path / "output")
    return Made(tmp_path / "output", shared.model, shared.rates, shared.moments)


def recorded(made: Made, folder: Path | None = None, checkpoints: str | None = None) -> Manifest:
    """The manifest that `tracefix new` makes."""
    texts = table(made.folder.parent)
    return from_tables(made.folder.parent / "p", folder or made.folder, texts, texts, Table(), checkpoints)


def loaded(made: Made, manifest: Manifest) -> Task:
    return load_task(Project(made.folder.parent / "p", manifest))


def test_the_whole_record_of_a_run_with_adamw(made: Made) -> None:
    manifest = recorded(made)
    assert isinstance(manifest.source, TransformersSource)
    assert manifest.source.model == str(made.checkpoint(STEPS)), (
        "without a model of its own, the last checkpoint"
    )
    assert manifest.source.trained == []
    record = manifest.training
    assert (record.optimizer, record.steps, record.batch_size) == ("adamw", STEPS, 8)
    assert (record.betas, record.epsilon, record.weight_decay) == ((0.9, 0.999), 1e-8, DECAY)
    assert record.learning_rate == pytest.approx(PEAK)
    assert [c.step for c in manifest.checkpoints] == list(SAVED)
    for checkpoint in manifest.checkpoints:
        assert checkpoint.learning_rate == pytest.approx(made.rates[checkpoint.step - 1])
    assert (
        training_summary(manifest)
        == "Checkpoints at steps 5, 10, 15 of a run with adamw, with its second moments."
    )


def test_second_moments_come_by_the_right_names(made: Made) -> None:
    """Many parameters have the same shape: only the order tells them apart."""
    task = loaded(made, recorded(made))
    for checkpoint in task.checkpoints:
        moments = checkpoint.second_moments
        assert isinstance(moments, dict)
        torch.testing.assert_close(moments, made.moments[checkpoint.step])


def test_the_learning_rates_add_up_with_their_warm_up(made: Made) -> None:
    """The log begins at step 2 of 3 of the warm-up and has every second step; the sum is known to half a step."""
    task = loaded(made, recorded(made))
    for start, end in ((0, 5), (5, 10), (0, STEPS)):
        assert rate_sum(task, start, end) == pytest.approx(sum(made.rates[start:end]), abs=0.6 * PEAK)


@pytest.mark.slow
def test_source_runs_on_it(made: Made, tracefix: CommandLine) -> None:
    texts, project = table(made.folder.parent), made.folder.parent / "p"
    outcome = tracefix("new", project, "--model", made.folder, "--train", texts, "--test", texts)
    assert outcome.status == 0, outcome.err
    assert "steps 5, 10, 15 of a run with adamw, with its second moments" in outcome.out
    for method in ("source", "fast_source"):
        explained = tracefix("explain", project, "3", "--method", method, "--json")
        assert explained.status == 0, explained.err
        assert json.loads(explained.out)["method"] == method
    assert not (made.folder / "unpickled").exists(), "training_args.bin was opened"


def test_a_run_with_sgd(tmp_path: Path) -> None:
    made = run_like_the_trainer(tmp_path / "output", torch.optim.SGD, momentum=0.8)
    manifest = recorded(made)
    record = manifest.training
    assert (record.optimizer, record.momentum, record.weight_decay) == ("sgd", 0.8, DECAY)
    assert all(checkpoint.second_moments is None for checkpoint in manifest.checkpoints)
    assert training_summary(manifest) == "Checkpoints at steps 5, 10, 15 of a run with sgd."


def test_adam_is_not_adamw(tmp_path: Path) -> None:
    made = run_like_the_trainer(tmp_path / "output", torch.optim.Adam, betas=(0.8, 0.99), eps=1e-6)
    record = recorded(made).training
    assert (record.optimizer, record.betas, record.epsilon) == ("adam", (0.8, 0.99), 1e-6)


def test_another_optimizer_is_unknown(tmp_path: Path) -> None:
    manifest = recorded(run_like_the_trainer(tmp_path / "output", torch.optim.Adagrad))
    assert manifest.training.optimizer == "unknown"
    assert "source cannot run" in training_summary(manifest)


def test_a_checkpoint_is_the_run_up_to_it(made: Made) -> None:
    manifest = recorded(made, made.checkpoint(10))
    assert [c.step for c in manifest.checkpoints] == [5, 10]
    assert manifest.training.steps == 10


def test_the_best_model_is_the_run_up_to_it(made: Made) -> None:
    """`load_best_model_at_end` and `save_model` leave an earlier checkpoint's model in the output folder."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made.checkpoint(10) / name, made.folder)
    manifest = recorded(made)
    assert isinstance(manifest.source, TransformersSource)
    assert manifest.source.model == str(made.folder)
    assert [c.step for c in manifest.checkpoints] == [5, 10]


def test_checkpoints_may_be_named(made: Made) -> None:
    manifest = recorded(made, made.checkpoint(15), str(made.folder / "checkpoint-1*"))
    assert [c.step for c in manifest.checkpoints] == [10, 15]
    assert manifest.training.optimizer == "adamw"


def test_further_runs_become_an_ensemble(made: Made, tmp_path: Path, tracefix: CommandLine) -> None:
    """Another output folder, and a saved model without a run."""
    shutil.copytree(made.folder, tmp_path / "seeds" / "1")
    shutil.copytree(
        made.checkpoint(10), tmp_path / "seeds" / "2", ignore=shutil.ignore_patterns("*.json.*", "trainer_*")
    )
    texts = table(tmp_path)
    arguments = [
        "--model",
        made.folder,
        "--train",
        texts,
        "--test",
        texts,
        "--ensemble",
        tmp_path / "seeds" / "*",
    ]
    outcome = tracefix("new", tmp_path / "p", *arguments)
    assert outcome.status == 0, outcome.err
    project = Project.open(tmp_path / "p")
    assert [len(model.checkpoints) for model in project.manifest.ensemble] == [3, 0]
    task = load_task(project)
    first, second = task.ensemble
    assert torch.equal(
        dict(second.tensors())["classifier.weight"], dict(first.checkpoints[1].tensors())["classifier.weight"]
    )
    assert first.checkpoints[1].second_moments is not None
    refused = tracefix.refused("new", tmp_path / "q", *arguments[:-1], tmp_path / "none*")
    assert "No file or folder matches --ensemble" in refused


def test_what_was_frozen_is_found_out(tmp_path: Path) -> None:
    """Attribution covers what was trained, and the optimizer's state is of these parameters alone."""
    made = run_like_the_trainer(tmp_path / "output", frozen="bert.embeddings")
    manifest = recorded(made)
    task = loaded(made, manifest)
    assert set(task.trained_parameters()) == {
        name for name, _ in made.model.named_parameters() if not name.startswith("bert.embeddings")
    }
    moments = task.checkpoints[-1].second_moments
    assert isinstance(moments, dict)
    torch.testing.assert_close(moments, made.moments[STEPS])


def test_processes_and_accumulated_batches_make_the_batch_size(made: Made) -> None:
    for rank in range(2):
        (made.checkpoint(STEPS) / f"rng_state_{rank}.pth").touch()
    (made.checkpoint(STEPS) / "rng_state.pth").unlink()
    made.state(STEPS, train_batch_size=5, log_history=[{"epoch": 2.0, "step": 4, "learning_rate": 0.1}])
    # 40 examples in 2 steps an epoch, 2 x 5 at a time: two batches are added up
    assert recorded(made).training.batch_size == 20


def test_older_versions_log_the_next_learning_rate(made: Made) -> None:
    """They read it after the schedule had moved on."""
    rates = [*made.rates, 0.0]
    log = [{"epoch": step / 5, "step": step, "learning_rate": rates[step]} for step in range(1, 11)]
    made.state(10, log_history=log)
    manifest = recorded(made, made.checkpoint(10))
    for checkpoint in manifest.checkpoints:
        assert checkpoint.learning_rate == pytest.approx(made.rates[checkpoint.step - 1])


def test_without_the_optimizer_it_is_unknown(made: Made) -> None:
    for step in SAVED:
        (made.checkpoint(step) / "optimizer.pt").unlink()
    manifest = recorded(made)
    assert manifest.training.optimizer == "unknown"
    assert manifest.checkpoints[0].second_moments is None
    assert manifest.checkpoints[0].learning_rate > 0


def test_without_any_learning_rate_the_optimizer_counts_as_unknown(made: Made) -> None:
    """No log, and the schedule has ended: nothing says how far the steps went, so source must not guess."""
    made.state(STEPS, log_history=[])
    manifest = recorded(made)
    assert manifest.training.optimizer == "unknown" and not manifest.training.learning_rates


def of_another_model(made: Made) -> None:
    other = nn.Linear(3, 2)
    torch.save(torch.optim.AdamW(other.parameters()).state_dict(), made.checkpoint(STEPS) / "optimizer.pt")


def of_other_shapes(made: Made) -> None:
    file = made.checkpoint(STEPS) / "optimizer.pt"
    content = torch.load(file, weights_only=True)
    content["state"][0]["exp_avg_sq"] = torch.ones(3)
    torch.save(content, file)


def with_code(made: Made) -> None:
    torch.save(Touching(made.folder / "unpickled"), made.checkpoint(STEPS) / "optimizer.pt")


def cut_off(made: Made) -> None:
    file = made.checkpoint(STEPS) / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:1000])


def damaged_state(made: Made) -> None:
    (made.checkpoint(STEPS) / "trainer_state.json").write_text("{")


def in_parts_of_deepspeed(made: Made) -> None:
    (made.checkpoint(5) / "model.safetensors").unlink()
    (made.checkpoint(5) / "global_step5").mkdir()


def in_parts_of_fsdp(made: Made) -> None:
    (made.checkpoint(5) / "model.safetensors").unlink()
    (made.checkpoint(5) / "pytorch_model_fsdp_0").mkdir()


def without_weights(made: Made) -> None:
    (made.checkpoint(5) / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (of_other_shapes, "shapes in .* are not those of the model"),
        (with_code, "not an optimizer's state of tensors and numbers"),
        (cut_off, "not an optimizer's state of tensors and numbers"),
        (damaged_state, r"trainer_state\.json' is damaged"),
        (in_parts_of_deepspeed, r"DeepSpeed's own parts.*zero_to_fp32"),
        (in_parts_of_fsdp, r"FSDP's own parts.*merge-weights"),
        (without_weights, "no safetensors weights"),
    ],
)
def test_what_cannot_be_used_is_refused(made: Made, damage: Callable[[Made], None], reason: str) -> None:
    damage(made)
    with pytest.raises(ProjectError, match=reason):
        create(made.folder.parent / "p", recorded(made))
    assert not (made.folder.parent / "p").exists()
    assert not (made.folder / "unpickled").exists()


def test_an_optimizer_of_another_number_of_parameters_is_refused(made: Made) -> None:
    of_another_model(made)
    state = OptimizerState.read(made.checkpoint(STEPS) / "optimizer.pt")
    with pytest.raises(ProjectError, match=r"optimizer of 2 parameters, and the model has 41"):
        state.second_moments(small_bert())


def test_names_and_a_single_group_are_understood(tmp_path: Path) -> None:
    """Optimizers made otherwise than by the Trainer: all parameters in one group, or named by torch itself."""
    model = small_bert()
    model(input_ids=torch.tensor([[2, 3]])).logits.sum().backward()
    reversed_names = list(model.named_parameters())[::-1]
    for number, parameters in enumerate((list(model.parameters()), reversed_names)):
        optimizer = torch.optim.AdamW(parameters)
        optimizer.step()
        file = tmp_path / f"{number}.pt"
        torch.save(optimizer.state_dict(), file)
        expected = {
            name: optimizer.state[p]["exp_avg_sq"] if p in optimizer.state else torch.zeros_like(p)
            for name, p in model.named_parameters()
        }
        torch.testing.assert_close(OptimizerState.read(file).second_moments(model), expected)


def test_the_trainer_itself(tmp_path: Path) -> None:
    """The same with a real Trainer."""
    from transformers import Trainer, TrainingArguments

    from tests.unit.tiny_models import word_tokenizer
    from tests.unit.trainer_output import EXAMPLES, LABELS, SENTENCES

    tokenizer = word_tokenizer()
    encoded = tokenizer(SENTENCES, padding=True)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], LABELS, strict=True)
    ]
    made = Made(tmp_path / "output", small_bert())
    arguments = TrainingArguments(
        str(made.folder), per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=3,
        save_steps=5, logging_steps=2, learning_rate=PEAK, warmup_steps=3, weight_decay=DECAY, report_to=[],
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(made.model, arguments, train_dataset=rows * (EXAMPLES // 4), processing_class=tokenizer)
    trainer.train()
    manifest = recorded(made)
    assert (manifest.training.optimizer, manifest.training.batch_size) == ("adamw", 8)
    assert [c.step for c in manifest.checkpoints] == list(SAVED)
    assert manifest.training.learning_rates[4] == pytest.approx(PEAK)
    task = loaded(made, manifest)
    expected = {
        name: trainer.optimizer.optimizer.state[p]["exp_avg_sq"] for name, p in made.model.named_parameters()
    }
    assert isinstance(task.checkpoints[-1].second_moments, dict)
    torch.testing.assert_close(task.checkpoints[-1].second_moments, expected)
