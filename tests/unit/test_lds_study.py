"""The LDS study: its marks, what it trains on, and that it goes on where it was stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import spearmanr
from torch import nn

from attribution import Engine
from attribution.errors import Cancelled, MissingRequirementError, UsageError
from attribution.progress import CancelToken, Reporter
from attribution.projects import Project
from attribution.projects.lds_record import FILE, read_lds
from attribution.retraining import TrainingRecipe, retrain
from attribution.studies import halves as halves_module
from attribution.studies.asked import query_ids
from attribution.studies.halves import FOLDER, random_halves
from attribution.studies.lds import FEWEST, ceiling, lds_study, rank_correlations
from tests.command_line import CommandLine
from tests.unit.tiny_models import images, labels, task_of, texts

SMALL = {"methods": ["grad_dot", "random"], "subsets": FEWEST, "seeds": 2, "queries": 6}


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


# -- marks --------------------------------------------------------------------------------------------------------


@given(some.integers(3, 20), some.integers(1, 5), some.integers(0, 2**31), some.booleans())
@settings(max_examples=50, deadline=None)
def test_rank_correlations_are_spearmans(subsets: int, queries: int, seed: int, tied: bool) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, subsets, queries))
    if tied:
        first = first.round()
    found = rank_correlations(first, second)
    for number in range(queries):
        varies = len(set(first[:, number])) > 1
        expected = spearmanr(first[:, number], second[:, number]).statistic if varies else 0.0
        assert found[number] == pytest.approx(expected, abs=1e-12)


def test_the_ceiling_is_what_the_truth_itself_reaches() -> None:
    """Real effects plus noise of seeds, both known: correlate the mean of the seeds with the effects."""
    generator = np.random.default_rng(0)
    effects = generator.normal(size=(4000, 1, 3))
    for seeds in (2, 5):
        real = effects + 1.5 * generator.normal(size=(4000, seeds, 3))
        reached = rank_correlations(real.mean(axis=1), effects[:, 0]).mean()
        assert ceiling(real) == pytest.approx(reached, abs=0.02)
    assert ceiling(effects) is None, "one seed says nothing of another"


# -- what is trained ----------------------------------------------------------------------------------------------


def test_halves_are_random_and_the_first_ones_the_same_however_many() -> None:
    few, many = random_halves(11, 3, 0), random_halves(11, 8, 0)
    assert (many[:3] == few).all() and (many.sum(axis=1) == 5).all()
    assert len({tuple(row) for row in many.tolist()}) > 1
    assert (random_halves(11, 3, 1) != few).any()


@pytest.mark.parametrize("kind", ["pictures", "texts"])
def test_training_on_members_is_training_as_if_there_were_no_others(kind: str) -> None:
    def make() -> nn.Module:
        if kind == "texts":
            return Averaged()
        return nn.Sequential(nn.Flatten(), nn.Linear(128, 3))

    def start(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return make().state_dict()

    inputs = texts(20) if kind == "texts" else list(images(20))
    own = labels(20)
    record = {"batch_size": 4, "steps": 20, "learning_rate": 0.1, "initial": start}
    members = [19, 2, 3, 5, 7, 11, 13, 17, 4, 6]
    whole = task_of(make(), inputs, own, **record)
    part = task_of(make(), [inputs[p] for p in members], [own[p] for p in members], **record)
    recipe = TrainingRecipe.of(whole).on_share(0.5)
    found, expected = retrain(whole, recipe, 3, members=members), retrain(part, recipe, 3)
    for mine, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert any(
        not torch.equal(mine, other)
        for mine, other in zip(found.parameters(), retrain(whole, recipe, 3).parameters(), strict=True)
    )


class Averaged(nn.Module):
    """The mean of a text's embeddings, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.unsqueeze(-1)
        return self.head((self.embedding(input_ids) * mask).sum(dim=1) / mask.sum(dim=1))


def test_a_share_of_the_data_keeps_the_epochs_and_the_course_of_the_rate() -> None:
    model = nn.Linear(2, 2)
    task = task_of(
        model,
        [torch.zeros(2)] * 4,
        [0, 1, 0, 1],
        classes=2,
        steps=100,
        learning_rate=0.1,
        learning_rates={1: 1.0, 100: 0.0},
        initial=lambda seed: model.state_dict(),
    )
    recipe = TrainingRecipe.of(task)
    half = recipe.on_share(0.5)
    assert len(half.rates) == half.steps == 50
    assert half.rates.mean() == pytest.approx(recipe.rates.mean(), rel=0.02)
    assert (np.diff(half.rates) < 0).all() and half.rates[0] > 0.9 and half.rates[-1] < 0.1
    assert len(recipe.on_share(1e-9).rates) == 1


# -- the study ----------------------------------------------------------------------------------------------------


def test_test_examples_are_mispredictions_first(engine: Engine) -> None:
    wrong = {row["id"] for row in engine.project.mispredictions()}
    assert set(query_ids(engine, 5, 0)) < wrong
    many = query_ids(engine, len(wrong) + 7, 0)
    assert len(set(many)) == len(many) == len(wrong) + 7 and set(many[: len(wrong)]) == wrong


def test_what_foretells_retraining_is_told_from_what_does_not(engine: Engine) -> None:
    wrong = query_ids(engine, 1, 0)[0]
    assert engine.explain(wrong, method="path").trust["lds"] is None
    result = lds_study(engine, methods=["path", "random"], subsets=16, seeds=1, queries=10)
    found = result["methods"]
    assert found["path"]["lds"] > 0.4 > 0.25 > abs(found["random"]["lds"])
    assert result["ceiling"] is None and result["from_step"] == 0
    record = read_lds(engine.project.directory)
    assert record is not None and record.methods["path"].lds == found["path"]["lds"]
    told = engine.explain(wrong, method="path").trust
    assert told["lds"] == pytest.approx(found["path"]["lds"]) and "LDS" in told["sentence"]


def test_a_stopped_study_goes_on_and_a_larger_one_takes_over(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, ...]] = []
    real = halves_module.retrain

    def counted(*args: object, members: list[int], **more: object) -> nn.Module:
        trained.append(tuple(members))
        return real(*args, members=members, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(halves_module, "retrain", counted)
    token = CancelToken()

    def stop(fraction: float, message: str) -> None:
        if message.startswith("Training 4 "):
            token.cancel()

    with pytest.raises(Cancelled):
        lds_study(engine, **SMALL, reporter=Reporter(stop, token))
    assert not (engine.project.directory / FILE).exists()
    before = len(trained)
    result = lds_study(engine, **SMALL)
    assert len(trained) == before + 2 * FEWEST - 3, "three were kept"
    again = lds_study(engine, **SMALL)
    assert len(trained) == before + 2 * FEWEST - 3
    assert {n: m["lds"] for n, m in again["methods"].items()} == {
        n: m["lds"] for n, m in result["methods"].items()
    }
    more = lds_study(engine, **SMALL | {"subsets": FEWEST + 2})
    assert len(trained) == before + 2 * FEWEST - 3 + 4 and more["subsets"] == FEWEST + 2
    lds_study(engine, **SMALL | {"measurement": "loss"})
    assert len(trained) == before + 2 * FEWEST + 1, "another measurement of the same models"
    lds_study(engine, **SMALL | {"queries": 3})
    assert len(trained) == before + 4 * FEWEST + 1, "other test examples were not looked at"


def test_a_damaged_output_is_trained_again(engine: Engine) -> None:
    first = lds_study(engine, **SMALL)
    file = next((engine.project.prepared_directory / FOLDER).glob("half-2-seed-1-*.npz"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    second = lds_study(engine, **SMALL)
    assert {n: m["lds"] for n, m in second["methods"].items()} == pytest.approx(
        {n: m["lds"] for n, m in first["methods"].items()}, abs=1e-6
    )


def test_too_few_halves_are_refused_and_a_poor_record_is_said(engine: Engine) -> None:
    with pytest.raises(UsageError, match=f"at least {FEWEST} halves"):
        lds_study(engine, **SMALL | {"subsets": FEWEST - 1})
    engine.task.optimizer = "unknown"
    with pytest.raises(MissingRequirementError, match="cannot be trained again"):
        lds_study(engine, **SMALL)


def test_the_command_prints_the_contract(tracefix: CommandLine, own_digits: Project) -> None:
    asked = ("--methods", "grad_dot,loss", "--subsets", FEWEST, "--seeds", "1", "--queries", "3")
    outcome = tracefix("study", own_digits.directory, "lds", *map(str, asked), "--json")
    assert outcome.status == 0, outcome.err
    document = json.loads(outcome.out)
    assert list(document["methods"]) == ["grad_dot", "loss"]
    assert set(document["methods"]["loss"]) == {"lds", "standard_error", "seconds"}
    assert {"subsets", "seeds", "ceiling"} <= set(document) and document["ceiling"] is None
    assert document == json.loads((own_digits.directory / FILE).read_text())
    shown = tracefix("study", own_digits.directory, "lds", *map(str, asked))
    assert (
        shown.status == 0
        and "3 test examples, 5 random halves of the training data with 1 model each" in shown.out
    )
    few = tracefix("study", own_digits.directory, "lds", "--subsets", "2")
    assert few.status == 2 and "at least 5" in few.err
