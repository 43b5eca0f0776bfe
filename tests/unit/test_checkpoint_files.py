"""Checkpoints found by a pattern or a list, and read from safetensors and from what ``torch.save`` writes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attribution import Checkpoint, Project, checkpoints_from, optimizer_second_moments
from attribution.errors import ProjectError, TracefixError
from attribution.sources import load_task
from attribution.sources.checkpoint_files import check_checkpoints
from attribution.sources.checkpoint_list import checkpoint_list, step_in_name
from attribution.sources.weight_files import read_weight_file
from attribution.trajectory import Trajectory
from tests.command_line import CommandLine
from tests.unit.tiny_models import mlp, small_bert, task_of, word_tokenizer


@pytest.fixture
def model() -> nn.Module:
    return mlp()


def copied(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in model.state_dict().items()}


def lightning(model: nn.Module, step: int, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """What Lightning's ``ModelCheckpoint`` saves of a module that keeps its network as ``self.model``."""
    return {
        "epoch": step // 10,
        "global_step": step,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": copied(model, "model.") | {"loss.weight": torch.ones(3)},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "", "best_k_models": {}}},
        "optimizer_states": [] if optimizer is None else [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 7},
    }


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("epoch=3-step=1200", 1200),
        ("epoch=3-step=1200-v1", 1200),
        ("step_0040", 40),
        ("net-v2.5-17", 17),
        ("epoch=2-val_loss=0.25", 2),
        ("final", None),
    ],
)
def test_the_step_is_read_from_the_name(name: str, step: int | None) -> None:
    assert step_in_name(name) == step


def test_a_pattern_is_ordered_by_step_not_by_name(tmp_path: Path, model: nn.Module) -> None:
    for step in (1000, 90, 200):
        save_file(copied(model), tmp_path / f"step-{step}.safetensors")
    found = checkpoints_from(tmp_path / "step-*.safetensors", learning_rate=lambda step: 1 / step)
    assert [(c.step, c.learning_rate) for c in found] == [(90, 1 / 90), (200, 1 / 200), (1000, 1 / 1000)]
    torch.testing.assert_close(dict(found[0].tensors()), copied(model))


@pytest.mark.parametrize("nested", ["", "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt"])
def test_state_dicts_are_read_wherever_people_put_them(
    tmp_path: Path, model: nn.Module, nested: str, ending: str
) -> None:
    content = copied(model) if not nested else {nested: copied(model), "step": 40, "learning_rate": 0.25}
    torch.save(content, tmp_path / f"step-40{ending}")
    rate = None if nested else 0.25
    checkpoint = Checkpoint.from_file(tmp_path / f"step-40{ending}", learning_rate=rate)
    assert (checkpoint.step, checkpoint.learning_rate) == (40, 0.25)
    torch.testing.assert_close(dict(checkpoint.tensors()), copied(model))


def test_lightning_files_say_step_rate_and_second_moments(tmp_path: Path, model: nn.Module) -> None:
    """The number in a name may be an epoch: the step inside goes first."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in (9, 10):
        nn.functional.cross_entropy(model(torch.randn(4, 5)), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        torch.save(lightning(model, 10 * epoch, optimizer), tmp_path / f"epoch={epoch}.ckpt")
    found = checkpoints_from(tmp_path / "*.ckpt", model=model)
    assert [(c.step, c.learning_rate, c.prefix) for c in found] == [
        (90, 3e-3, "model."),
        (100, 3e-3, "model."),
    ]
    torch.testing.assert_close(dict(found[-1].tensors()), copied(model))
    assert found[-1].second_moments is not None
    torch.testing.assert_close(found[-1].second_moments, optimizer_second_moments(model, optimizer))
    plain = checkpoints_from(tmp_path / "*.ckpt", prefix="model.")
    torch.testing.assert_close(dict(plain[-1].tensors()), copied(model))
    assert plain[-1].second_moments is None


@pytest.mark.parametrize("ending", [".csv", ".json"])
def test_a_list_gives_steps_and_rates(tmp_path: Path, model: nn.Module, ending: str) -> None:
    rows = [("b.pt", 200, 0.01), ("a.safetensors", 20, 0.1)]
    torch.save(copied(model), tmp_path / "b.pt")
    save_file(copied(model), tmp_path / "a.safetensors")
    file = tmp_path / f"list{ending}"
    if ending == ".csv":
        lines = [f"{path},{step},{rate}" for path, step, rate in rows]
        file.write_text("\n".join(["path,step,learning_rate", *lines]))
    else:
        keys = ("path", "step", "learning_rate")
        listed = [dict(zip(keys, row, strict=True)) for row in rows]
        file.write_text(json.dumps({"optimizer": "sgd", "momentum": 0.9, "checkpoints": listed}))
        training = checkpoint_list(str(file)).training
        assert training is not None and (training.optimizer, training.momentum) == ("sgd", 0.9)
    found = checkpoints_from(file)
    assert [(Path(str(c.state_dict)).name, c.step, c.learning_rate) for c in found] == [
        ("a.safetensors", 20, 0.1),
        ("b.pt", 200, 0.01),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,step\n", "names no checkpoints"),
        ("path,step,learning_rate\n,1,0.1\n", "Row 1 .* has no path"),
        ("path,step,learning_rate\na.pt,1,0.1\nnowhere.pt,2,0.1\n", "Row 2 .* no file or folder"),
        ("path,step,learning_rate\na.pt,x,0.1\n", "Row 1 .* the step 'x'"),
        ("path,step,learning_rate\na.pt,1.5,0.1\n", "Row 1 .* the step 1.5"),
        ("path,step,learning_rate\na.pt,1,-1\n", "Row 1 .* the learning_rate '-1'"),
        ("path,step,rate\na.pt,1,0.1\n", "has 'rate': the columns are"),
        ("path,step\na.pt,1\na.pt,1\n", "both of step 1"),
        ('{"checkpoints": 3}', "names no checkpoints"),
        ('{"optimiser": "sgd", "checkpoints": [{"path": "a.pt"}]}', "'optimiser' .* is wrong"),
        ("{", "cannot be read"),
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, model: nn.Module, text: str, said: str) -> None:
    torch.save(copied(model), tmp_path / "a.pt")
    file = tmp_path / ("list.json" if text.startswith("{") else "list.csv")
    file.write_text(text)
    with pytest.raises(TracefixError, match=said):
        checkpoint_list(str(file))


class Network(nn.Linear):
    """What somebody saves whole."""


def test_a_pickle_with_code_is_refused_with_a_command_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(3, 2)
    file = tmp_path / "it's 5.pt"
    torch.save(network, file)
    with pytest.raises(ProjectError, match="would run code") as refused:
        Checkpoint.from_file(file, learning_rate=0.1)
    python, option, program, *arguments = shlex.split(str(refused.value).split("convert it with ")[1])
    assert (python, option) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", ["-c", *arguments])
    exec(program, {})  # as a shell would, without another import of torch
    converted = Checkpoint.from_file(tmp_path / "it's 5-weights.pt", learning_rate=0.1)
    assert converted.step == 5
    torch.testing.assert_close(dict(converted.tensors()), dict(network.state_dict()))


def damaged(file: Path) -> None:
    file.write_bytes(b"nothing that torch wrote")


def cut_off(file: Path) -> None:
    torch.save(copied(mlp()), file)
    file.write_bytes(file.read_bytes()[:700])


def of_numbers(file: Path) -> None:
    torch.save([1, 2, 3], file)


def without_weights(file: Path) -> None:
    torch.save({"step": 3}, file)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (damaged, "is damaged or not written by torch.save"),
        (cut_off, "is damaged or not written by torch.save"),
        (of_numbers, "holds list instead of a model's state dict"),
        (without_weights, "holds no state dict"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path: Path, write: Callable[[Path], None], said: str) -> None:
    write(tmp_path / "step-1.pt")
    with pytest.raises(ProjectError, match=said):
        read_weight_file(tmp_path / "step-1.pt")


def test_another_architecture_is_explained(tmp_path: Path, model: nn.Module) -> None:
    torch.save({"0.weight": torch.ones(7, 4)}, tmp_path / "step-1.pt")
    torch.save({"encoder.weight": torch.ones(7, 4)}, tmp_path / "step-2.pt")
    torch.save({"1.weight": torch.ones(7)}, tmp_path / "step-3.pt")
    saved = [tmp_path / f"step-{step}.pt" for step in (1, 2, 3)]
    for file, said in [
        (saved[0], r"'0.weight' in shape \(7, 4\), and the model has it in \(7, 5\)"),
        (saved[1], "'encoder.weight' that the model lacks"),
    ]:
        with pytest.raises(ProjectError, match=said):
            Checkpoint.from_file(file, learning_rate=0.1, model=model)
        task = task_of(model, torch.randn(4, 5), [0, 1, 2, 0], checkpoints=[Checkpoint(file, 0.1, 1)])
        with pytest.raises(ProjectError, match=said):
            check_checkpoints(task)
    assert Checkpoint.from_file(saved[2], learning_rate=0.1, model=model).step == 3, "a part of it is enough"
    with pytest.raises(ProjectError, match=r"No weight .* begins with 'net\.'"):
        Checkpoint(saved[0], 0.1, 1, prefix="net.").tensors()


def test_a_missing_rate_or_step_is_asked_for(tmp_path: Path, model: nn.Module) -> None:
    torch.save(copied(model), tmp_path / "step-1.pt")
    torch.save(copied(model), tmp_path / "final.pt")
    with pytest.raises(ProjectError, match="does not say its learning rate"):
        Checkpoint.from_file(tmp_path / "step-1.pt")
    with pytest.raises(ProjectError, match="has no step number"):
        checkpoints_from(tmp_path / "final.pt", learning_rate=0.1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a transformers model, a table, and what Lightning saved of two steps of its training."""
    folder = tmp_path / "model"
    network = small_bert(layers=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    for step in (900, 1000):
        nn.functional.cross_entropy(network(torch.tensor([[2, 3]])).logits, torch.tensor([1])).backward()
        optimizer.step()
        torch.save(lightning(network, step, optimizer), tmp_path / f"epoch={step // 100}.ckpt")
    network.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (tmp_path / "data.csv").write_text("text,label\ngood film,1\nbad film,0\nvery bad,2\n")
    return tmp_path


def new(saved: Path, checkpoints: str) -> tuple[str, ...]:
    """Arguments of `tracefix new` on it."""
    data = str(saved / "data.csv")
    given = ("--model", str(saved / "model"), "--train", data, "--test", data)
    return ("new", str(saved / "project"), *given, "--checkpoints", checkpoints)


def test_lightning_files_become_checkpoints_of_a_transformers_project(
    tracefix: CommandLine, saved: Path
) -> None:
    outcome = tracefix(*new(saved, str(saved / "*.ckpt")))
    assert outcome.status == 0, outcome.err
    assert "Checkpoints at steps 900, 1000 of a run with sgd." in outcome.out
    project = Project.open(saved / "project")
    record = project.manifest.training
    assert (record.optimizer, record.momentum, record.weight_decay) == ("sgd", 0.9, 1e-3)
    assert [c.learning_rate for c in project.manifest.checkpoints] == [0.05, 0.05]
    task = load_task(project)
    trajectory = Trajectory(task)
    assert [(p.step, p.final) for p in trajectory.points] == [(900, False), (1000, True)]
    stored = torch.load(saved / "epoch=9.ckpt", weights_only=True)["state_dict"]
    found = trajectory.model_at(trajectory.points[0]).state_dict()
    assert all(
        torch.equal(found[name.removeprefix("model.")], stored[name]) for name in stored if "model." in name
    )


def test_a_list_says_how_training_went(tracefix: CommandLine, saved: Path) -> None:
    rows = [
        {"path": f"epoch={number}.ckpt", "step": number, "learning_rate": 0.5 / number} for number in (10, 9)
    ]
    document = {"optimizer": "adamw", "betas": [0.8, 0.99], "steps": 12, "checkpoints": rows}
    (saved / "run.json").write_text(json.dumps(document))
    assert tracefix(*new(saved, str(saved / "run.json"))).status == 0
    manifest = Project.open(saved / "project").manifest
    assert [(c.step, c.learning_rate) for c in manifest.checkpoints] == [(9, 0.5 / 9), (10, 0.05)]
    assert (manifest.training.optimizer, manifest.training.betas) == ("adamw", (0.8, 0.99))


def of_other_width(saved: Path) -> None:
    content = {"state_dict": {"classifier.weight": torch.ones(3, 9)}, "learning_rate": 0.05}
    torch.save(content, saved / "epoch=9.ckpt")


def of_another_model(saved: Path) -> None:
    torch.save({"state_dict": mlp().state_dict(), "learning_rate": 0.05}, saved / "epoch=9.ckpt")


def whole(saved: Path) -> None:
    torch.save(Network(2, 2), saved / "epoch=9.ckpt")


def half_listed(saved: Path) -> None:
    torch.save(copied(small_bert(layers=1)), saved / "epoch=9.ckpt")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (of_other_width, "in shape (3, 9), and the model has it in (3, 8)"),
        (of_another_model, "that the model lacks"),
        (whole, "convert it with python -c"),
        (half_listed, "learning rate of"),
    ],
)
def test_checkpoints_that_do_not_fit_make_no_project(
    tracefix: CommandLine, saved: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(saved)
    assert said in tracefix.refused(*new(saved, str(saved / "*.ckpt")))
    assert not (saved / "project").exists()
