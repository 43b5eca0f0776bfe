"""What really happens: the queries' logits under models retrained on random halves of the training examples."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cache import load_arrays, save_arrays, setting_folder
from .run import Run
from .settings import Setting
from .training import forward, train_many

SUBSET_SEED = 7
FIRST_SEED = 100


@dataclass(frozen=True)
class Truth:
    """Which examples each subset has (subsets, N), the queries' logits (subsets, seeds, Q, C), and what it cost."""

    member: Tensor
    logits: Tensor
    seconds: float


def random_halves(setting: Setting) -> Tensor:
    """Positions (subsets, N/2), the same for all settings of that size."""
    generator = np.random.default_rng(SUBSET_SEED)
    size = setting.train_size
    halves = [generator.choice(size, size // 2, replace=False) for _ in range(setting.subsets)]
    return torch.tensor(np.stack(halves))


def retrained(run: Run, cache: Path, *, progress: bool = True) -> Truth:
    """The truth of a setting; chunks of models that the cache has already are not trained again."""
    setting = run.setting
    folder = setting_folder(cache, setting) / "truth"
    subsets = random_halves(setting)
    chunks = list(subsets.repeat_interleave(setting.seeds, 0).split(setting.chunk))
    started = time.perf_counter()
    missing = [n for n in range(len(chunks)) if not _file(folder, n).exists()]
    for made, number in enumerate(missing, start=1):
        _retrain(run, chunks[number], FIRST_SEED + number, _file(folder, number))
        if progress:
            left = (time.perf_counter() - started) / made * (len(missing) - made)
            done = len(chunks) - len(missing) + made
            print(
                f"{setting.title}: {done} of {len(chunks)} chunks retrained, about {left / 60:.0f} min left",
                flush=True,
            )
    stored = [load_arrays(_file(folder, number)) for number in range(len(chunks))]
    logits = torch.tensor(np.concatenate([arrays["logits"] for arrays in stored]))
    member = torch.zeros(setting.subsets, setting.train_size, dtype=torch.float64).scatter_(1, subsets, 1.0)
    return Truth(
        member=member,
        logits=logits.double().reshape(setting.subsets, setting.seeds, setting.queries, -1),
        seconds=sum(float(arrays["seconds"]) for arrays in stored),
    )


def _file(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:03d}.npz"


def _retrain(run: Run, subsets: Tensor, seed: int, file: Path) -> None:
    started = time.perf_counter()
    parameters, _ = train_many(run.setting, run.data, subsets, seed)
    logits = forward(parameters, run.query_inputs.expand(len(subsets), -1, -1))
    save_arrays(file, {"logits": logits.numpy(), "seconds": np.array(time.perf_counter() - started)})
