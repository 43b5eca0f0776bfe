"""Learning rates of all steps from a log of some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from attribution.sources.schedule import completed

PEAK = 5e-5


def scheduled(name: str, warmup: int, total: int) -> np.ndarray:
    """The rates (total,) of transformers' own schedule."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


def filled(found: dict[int, float], total: int) -> np.ndarray:
    return np.interp(np.arange(1, total + 1), list(found), list(found.values()))


@pytest.mark.parametrize(
    ("name", "warmup"),
    [
        *((name, warmup) for name in ("linear", "cosine") for warmup in (0, 37, 300)),
        ("constant_with_warmup", 300),
    ],
)
def test_a_sparse_log_says_all_where_the_schedule_is_a_usual_one(name: str, warmup: int) -> None:
    """Logged every 250 of 1,000 steps, the warm-up hardly shows."""
    rates = scheduled(name, warmup, 1000)
    log = {step: rates[step - 1] for step in (250, 500, 750, 1000)}
    found = completed(log, 1000, PEAK)
    assert np.abs(filled(found, 1000) - rates).max() < 2e-3 * PEAK
    assert len(found) < 40


def test_a_warm_up_that_the_log_never_saw_is_taken_as_none() -> None:
    rates = scheduled("constant_with_warmup", 37, 1000)
    found = completed({step: rates[step - 1] for step in (250, 500)}, 1000, PEAK)
    assert found == {1: PEAK, 1000: PEAK}


def test_any_other_schedule_follows_the_log() -> None:
    log = {10: 1.0, 20: 1.0, 30: 0.1, 40: 0.1}
    found = filled(completed(log, 60, 1.0), 60)
    assert np.allclose(found, np.interp(np.arange(1, 61), list(log), list(log.values())))


def test_without_a_peak_only_the_log_counts() -> None:
    assert completed({5: 0.5, 10: 0.25}, 12, None) == {1: 0.5, 5: 0.5, 10: 0.25, 12: 0.25}


def test_without_a_log_nothing_is_known() -> None:
    assert completed({}, 100, 1.0) == {}
