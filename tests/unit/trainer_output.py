"""Output folders of the transformers Trainer, made without it (it needs accelerate): the files that it writes.

Order and groups of the optimizer's parameters come from the Trainer's own method, log and state from its own class.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import Trainer, get_scheduler
from transformers.trainer_callback import TrainerState

from attribution import optimizer_second_moments
from tests.unit.tiny_models import small_bert, word_tokenizer

SENTENCES = ["good film", "not very good", "bad", "very very bad film"]
LABELS = [0, 1, 2, 0]
EXAMPLES, BATCH, STEPS, SAVED = 40, 8, 15, (5, 10, 15)
PEAK, WARMUP, DECAY = 1e-2, 3, 0.01


@dataclass
class Made:
    """An output folder, and what is true of the run.

    Args:
        folder: with ``checkpoint-5``, ``checkpoint-10`` and ``checkpoint-15``.
        model: as it was in the end.
        rates: learning rate of each step.
        moments: second moments by name at each saved step.
    """

    folder: Path
    model: nn.Module
    rates: list[float] = field(default_factory=list)
    moments: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def state(self, step: int, **changed: object) -> None:
        """Change entries of a checkpoint's ``trainer_state.json``."""
        file = self.checkpoint(step) / "trainer_state.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))


class Touching:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.file,)


def run_like_the_trainer(
    folder: Path,
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
    *,
    frozen: str = "",
    schedule: str = "linear",
    logging_steps: int = 2,
    **settings: float,
) -> Made:
    """Train a tiny BERT for 15 steps as the Trainer does by default, saving every fifth.

    Args:
        frozen: beginning of the names of parameters that are not trained.
        settings: of the optimizer.
    """
    torch.manual_seed(0)
    model = small_bert()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (frozen and name.startswith(frozen)))
    decayed = Trainer.get_decay_parameter_names(None, model)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in trained if name in decayed], "weight_decay": DECAY},
        {"params": [p for name, p in trained if name not in decayed], "weight_decay": 0.0},
    ]
    optimizer = optimizer_class(groups, lr=PEAK, **settings)
    scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=WARMUP, num_training_steps=STEPS)
    tokenizer = word_tokenizer()
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    made = Made(folder, model)
    state = TrainerState(max_steps=STEPS, num_train_epochs=3, train_batch_size=BATCH)
    for step in range(1, STEPS + 1):
        loss = model(**inputs, labels=torch.tensor(LABELS)).loss
        loss.backward()
        optimizer.step()
        made.rates.append(scheduler.get_last_lr()[0])
        scheduler.step()
        optimizer.zero_grad()
        state.global_step, state.epoch = step, step * BATCH / EXAMPLES
        if step % logging_steps == 0:
            entry = {"epoch": state.epoch, "learning_rate": made.rates[-1], "loss": loss.item(), "step": step}
            state.log_history.append(entry)
        if step in SAVED:
            checkpoint = made.checkpoint(step)
            model.save_pretrained(checkpoint)
            tokenizer.save_pretrained(checkpoint)
            torch.save(optimizer.state_dict(), checkpoint / "optimizer.pt")
            torch.save(scheduler.state_dict(), checkpoint / "scheduler.pt")
            (checkpoint / "training_args.bin").write_bytes(pickle.dumps(Touching(folder / "unpickled")))
            (checkpoint / "rng_state.pth").write_bytes(b"")
            state.save_to_json(str(checkpoint / "trainer_state.json"))
            made.moments[step] = optimizer_second_moments(model, optimizer)
    return made


def table(folder: Path) -> Path:
    """The training data as a CSV file; it serves as test data too."""
    repeats = EXAMPLES // len(LABELS)
    file = folder / "texts.csv"
    pd.DataFrame({"text": SENTENCES * repeats, "label": LABELS * repeats}).to_csv(file, index=False)
    return file
