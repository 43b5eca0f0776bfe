"""What preparing will take, which methods can run, and whether the checkpoints are of this model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from attribution.batches import gradient_batch_size
from attribution.capture import GradientCapture
from attribution.checking.finding import Finding, counted, listed, megabytes
from attribution.cost import estimate
from attribution.curvature.store import FITTED_ON
from attribution.errors import TracefixError
from attribution.index import plan_index
from attribution.methods import ProjectFacts, default_method, list_methods, method_named
from attribution.preparation import facts_of, needed_points
from attribution.projects import Project
from attribution.task import Checkpoint, Task, TrainedModel
from attribution.trajectory import Trajectory

COPIES = 4
"""Sets of the model's weights that are in memory at once: the task's, the one moved along the run, its final state, and
the checkpoint that is being read."""

MOST_REASONS = 3
"""Reasons that the sentence on methods gives at most."""


def parameter_finding(model: nn.Module) -> Finding:
    """How large the model is, and how much of it was trained."""
    every = {id(p): p for p in model.parameters()}.values()
    total = sum(p.numel() for p in every)
    trained = sum(p.numel() for p in every if p.requires_grad)
    numbers = {"parameters": total, "trained": trained}
    if not trained:
        return Finding(
            "parameters",
            "problem",
            f"None of the {total:,} parameters requires gradients.",
            "Only what was trained is explained: set requires_grad on it, or mend 'trained' in project.json.",
            numbers,
        )
    words = "all of them trained" if trained == total else f"{trained:,} of them trained"
    return Finding("parameters", "ok", f"The model has {total:,} parameters, {words}.", numbers=numbers)


def device_finding(device: torch.device, model: nn.Module) -> Finding:
    """Where the model runs, and whether it fits there."""
    needed = COPIES * sum(t.numel() * t.element_size() for t in model.state_dict().values())
    free = free_memory(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    cores = f", {counted(os.cpu_count() or 1, 'core')}" if device.type == "cpu" else ""
    numbers = {"device": str(device), "free_memory": free, "needed_memory": needed}
    where = f"Runs on {name}{cores}"
    if free is None:
        return Finding("device", "ok", f"{where}.", numbers=numbers)
    words = f"{where}, {megabytes(free)} of memory free; copies of the weights take {megabytes(needed)}."
    if needed > free:
        remedy = (
            "Close other programs, or use a machine with more memory: preparing would stop for want of it."
        )
        return Finding("device", "problem", words, remedy, numbers)
    return Finding("device", "ok", words, numbers=numbers)


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be had on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def checkpoint_finding(task: Task) -> Finding:
    """Whether every checkpoint, and every model of the ensemble, has the model's parameters in their shapes."""
    own: dict[str, tuple[int, ...]] = {
        name: tuple(tensor.shape) for name, tensor in task.model.state_dict().items()
    }
    stored = {f"checkpoint of step {c.step}": c for c in task.checkpoints} | {
        f"model {number} of the ensemble": model for number, model in enumerate(task.ensemble, start=1)
    }
    steps = [checkpoint.step for checkpoint in task.checkpoints]
    numbers = {"steps": steps, "ensemble": len(task.ensemble)}
    for name, weights in stored.items():
        try:
            difference = _difference(shapes_of(weights), own)
        except TracefixError as error:
            return Finding("checkpoints", "problem", str(error), numbers=numbers)
        if difference:
            remedy = "Give checkpoints of this model, or leave that one out."
            return Finding("checkpoints", "problem", f"The {name} {difference}.", remedy, numbers)
    further = f"; {counted(len(task.ensemble), 'further model')}" if task.ensemble else ""
    if not steps:
        sentence = f"There are no checkpoints of the training run{further}."
        remedy = (
            "Methods that follow the run need some: tracefix new --checkpoints, or Task(checkpoints=...)."
        )
        return Finding("checkpoints", "note", sentence, remedy, numbers)
    if not any(checkpoint.learning_rate > 0 for checkpoint in task.checkpoints):
        sentence = f"{counted(len(steps), 'checkpoint')}, each with a learning rate of zero{further}."
        remedy = "Give the step size that was in force at each."
        return Finding("checkpoints", "warning", sentence, remedy, numbers)
    sentence = (
        f"{counted(len(steps), 'checkpoint')}, steps {steps[0]:,} to {steps[-1]:,}, fit the model{further}."
    )
    return Finding("checkpoints", "ok", sentence, numbers=numbers)


def shapes_of(stored: Checkpoint | TrainedModel) -> dict[str, tuple[int, ...]]:
    """Shapes of stored parameters by name; of a file, its header alone is read.

    Raises:
        ProjectError: there is no readable safetensors file.
    """
    if isinstance(stored.state_dict, Mapping):
        return {name: tuple(tensor.shape) for name, tensor in stored.state_dict.items()}
    from safetensors import safe_open

    try:
        with safe_open(str(stored.state_dict), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception:  # whatever is wrong with the file, reading it whole says so in a sentence
        return {name: tuple(tensor.shape) for name, tensor in stored.tensors().items()}


def _difference(found: dict[str, tuple[int, ...]], own: dict[str, tuple[int, ...]]) -> str:
    for name, shape in found.items():
        if name not in own:
            return f"has a parameter '{name}' that the model lacks"
        if shape != own[name]:
            return f"has '{name}' in the shape {shape}, and the model in {own[name]}"
    return ""


def method_finding(facts: ProjectFacts) -> Finding:
    """Which methods can run, and what the others lack."""
    missing = {info.name: method_named(info.name).missing(facts) for info in list_methods()}
    able = [name for name, reason in missing.items() if reason is None]
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        if reason is not None:
            reasons.setdefault(reason, []).append(name)
    numbers = {
        "default": default_method(facts),
        "available": able,
        "missing": {k: v for k, v in missing.items() if v},
    }
    sentence = (
        f"{len(able)} of {len(missing)} methods can run, '{default_method(facts)}' by default; without "
        f"{listed(sorted(set(missing) - set(able)), len(missing))}."
        if reasons
        else f"All {len(missing)} methods can run, '{default_method(facts)}' by default."
    )
    remedy = " ".join(
        f"{', '.join(names)}: {reason}" for reason, names in list(reasons.items())[:MOST_REASONS]
    )
    return Finding("methods", "ok" if not reasons else "note", sentence, remedy, numbers)


def project_facts(task: Task, trajectory: Trajectory, kind: str, examples: int) -> ProjectFacts:
    """What decides which methods can run, of a task that holds a sample of its ``examples`` training examples."""
    return replace(facts_of(task, trajectory, kind), n_train=examples)


def cost_finding(
    project: Project, task: Task, trajectory: Trajectory, facts: ProjectFacts, tested: int, per_test: float
) -> Finding:
    """How long preparing the default method takes, and what its index takes on disk.

    Args:
        task: with a sample of the training examples.
        tested: number of test examples.
        per_test: seconds that predicting one of them takes.
    """
    covered = {p.number for p in (*trajectory.followed, *trajectory.traced, trajectory.final)}
    capture = GradientCapture(task, trajectory.model_at(trajectory.final))
    plan = plan_index(capture.shapes, facts.n_train, len(covered))
    points = needed_points(facts, None)
    cost = estimate(
        task,
        trajectory,
        plan,
        points=len(points),
        fitted_on=FITTED_ON,
        batch_size=gradient_batch_size(task),
        examples=facts.n_train,
    )
    cost = replace(cost, seconds=cost.seconds + tested * per_test)
    free = shutil.disk_usage(_existing(project.directory)).free
    numbers = {
        "seconds": round(cost.seconds, 1),
        "bytes": cost.size,
        "free_bytes": free,
        "points": len(points),
    }
    sentence = (
        f"Preparing '{default_method(facts)}' takes {cost.words} for its index; {megabytes(free)} are free."
    )
    if cost.size > free:
        remedy = "Free some space, or make the project on another disk."
        return Finding("preparing", "problem", sentence, remedy, numbers)
    return Finding("preparing", "ok", sentence, numbers=numbers)


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def logits_problem(logits: Tensor, classes: int) -> Finding | None:
    """What is wrong with the shape of the model's output; None where nothing is."""
    if logits.dim() == 2 and logits.shape[1] == classes:
        return None
    return Finding(
        "output",
        "problem",
        f"The model gives outputs of shape {tuple(logits.shape[1:])} for {classes} class names.",
        "Give one logit for each class name.",
    )
