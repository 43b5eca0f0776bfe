"""The output folder of the transformers Trainer: which checkpoints it holds. Looked at without importing torch.

    checkpoint-STEP/   one for each time it saved: a model that loads, and beside it
        trainer_state.json    steps, batch size, the log with learning rates
        optimizer.pt          the optimizer's settings, and what it keeps of each parameter
        rng_state*.pth        one for each process

``training_args.bin`` is a pickle of classes, which could run anything on being read: it is never opened.
"""

from __future__ import annotations

import re
from pathlib import Path

STATE, OPTIMIZER, WEIGHTS = "trainer_state.json", "optimizer.pt", "model.safetensors"

_SHARDED = {
    "DeepSpeed": (
        ("global_step*", "zero_to_fp32.py", "latest"),
        "python zero_to_fp32.py . . --safe_serialization",
    ),
    "FSDP": (("pytorch_model_fsdp*", "optimizer_0", "optimizer.bin"), "accelerate merge-weights"),
}
"""What gives away that another library saved the state in parts: file patterns, and what puts weights together."""


def checkpoint_folders(directory: Path) -> list[Path]:
    """The checkpoints of the run that a Trainer's output folder, or one checkpoint of it, belongs to; oldest first.

    Of a checkpoint only those up to it. Empty where the folder is neither.
    """
    inside = [folder for folder in directory.glob("checkpoint-*") if (folder / STATE).is_file()]
    if inside:
        return sorted((folder for folder in inside if _step(folder) is not None), key=step_of)
    last = _step(directory)
    if last is None or not (directory / STATE).is_file():
        return []
    beside = [folder for folder in directory.parent.glob("checkpoint-*") if (folder / STATE).is_file()]
    return sorted((f for f in beside if (step := _step(f)) is not None and step <= last), key=step_of)


def step_of(folder: Path) -> int:
    """The number in ``checkpoint-STEP``."""
    step = _step(folder)
    assert step is not None
    return step


def _step(folder: Path) -> int | None:
    match = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    return None if match is None else int(match[1])


def sharded_by(folder: Path) -> tuple[str, str] | None:
    """The library that saved the folder's state in parts, and the command that puts the weights together."""
    for library, (patterns, command) in _SHARDED.items():
        if any(next(folder.glob(pattern), None) is not None for pattern in patterns):
            return library, command
    return None
