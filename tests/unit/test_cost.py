"""What preparing costs is said beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution import Reporter, prepare
from attribution.cost import Cost
from tests.unit.built_projects import project_of
from tests.unit.tiny_models import trained_mlp


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(0.2, 10 * 2**20), "about 1 s and 10 MB"),
        (Cost(300, 2**30), "about 5 min and 1,024 MB"),
        (Cost(9000, 0), "about 2.5 h and 0 MB"),
    ],
)
def test_costs_in_words(cost: Cost, words: str) -> None:
    assert cost.words == words


def test_preparing_says_what_it_will_take_once(tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", trained_mlp)
    heard: list[str] = []
    prepare(project, device="cpu", reporter=Reporter(lambda fraction, message: heard.append(message)))
    assert sum("will take about" in message for message in heard) == 1
