"""Which peers there are, and on which data they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..queries import MEASUREMENTS

DATTRI_CG = "dattri_cg"
KRONFLUENCE = "kronfluence"


@dataclass(frozen=True)
class Peer:
    """A method of another library.

    Args:
        title: as the tables show it.
        package: the distribution whose version is reported.
        adapter: module in this package with ``scores(problem, **options)``.
        measurements: those that its interface allows.
        data: the data sets that it can be asked for in reasonable time.
    """

    title: str
    package: str
    adapter: str
    options: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[str, ...] = MEASUREMENTS
    data: tuple[str, ...] = ("digits", "fashion")


PEERS: dict[str, Peer] = {
    DATTRI_CG: Peer("dattri CG, defaults", "dattri", "dattri_inverse", {"kind": "cg"}),
    KRONFLUENCE: Peer(
        "kronfluence EK-FAC, damping 0.1·mean", "kronfluence", "kronfluence_scores", {"damping": None}
    ),
    "kronfluence_default": Peer(
        "kronfluence EK-FAC, its default damping 1e-8",
        "kronfluence",
        "kronfluence_scores",
        {"damping": 1e-8},
    ),
    "kronfluence_identity": Peer(
        "kronfluence identity", "kronfluence", "kronfluence_scores", {"strategy": "identity", "damping": None}
    ),
    "dattri_arnoldi": Peer(
        "dattri Arnoldi, defaults", "dattri", "dattri_inverse", {"kind": "arnoldi"}, data=("digits",)
    ),
    "dattri_ekfac": Peer(
        # It fits the curvature of its target, so only the loss can be asked for.
        "dattri EK-FAC, damped as ours",
        "dattri",
        "dattri_inverse",
        {"kind": "ekfac"},
        measurements=("loss",),
        data=("digits",),
    ),
    "dattri_datainf": Peer(
        "dattri DataInf, damped as ours", "dattri", "dattri_inverse", {"kind": "datainf"}, data=("digits",)
    ),
    "captum_tracin": Peer("captum TracInCP, 6 checkpoints", "captum", "captum_tracing"),
    "captum_arnoldi": Peer("captum Arnoldi, defaults", "captum", "captum_arnoldi", data=("digits",)),
    "trak": Peer(
        "traker TRAK, 5 checkpoints, dim 128",
        "traker",
        "trak_scores",
        {"dimensions": 128, "checkpoints": 5},
        data=("digits",),
    ),
    "pydvl": Peer(
        "pyDVL EK-FAC, damped as ours", "pyDVL", "pydvl_ekfac", measurements=("loss",), data=("digits",)
    ),
}
