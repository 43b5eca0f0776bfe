"""Cross-loss influence (Silva et al. 2022) against real leave-one-out retraining, on three clusters."""

from __future__ import annotations

import pytest

from tests.unit.clusters import CLUSTERS, Clustered, agreement, clustered


@pytest.fixture(scope="module")
def found() -> Clustered:
    return clustered(seed=0)


@pytest.mark.parametrize("cluster", range(CLUSTERS))
def test_the_training_loss_predicts_retraining_and_the_measured_loss_in_its_place_does_not(
    found: Clustered, cluster: int
) -> None:
    right, wrong = agreement(found, cluster)
    assert right >= 0.9
    assert abs(wrong) < 0.4
