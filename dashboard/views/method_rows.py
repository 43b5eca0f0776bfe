"""What is known about compared methods, as rows of a table; those that cannot run here by what they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attribution.methods import MethodInfo, method_named
from dashboard.components.table import Column, Row

if TYPE_CHECKING:
    from attribution.explanation import Explanation
    from attribution.projects.lds_record import LdsRecord

COLUMNS = [
    Column("method", "Method", "text"),
    Column("fidelity", "Fidelity here (LDS)", "chip"),
    Column("seconds", "This query", "seconds", align="right"),
    Column("scale", "Scale", "word"),
    Column("source", "Scores come from", "text", minor=True),
    Column("cost", "Cost of a query", "muted", minor=True),
]

NOT_MEASURED = "not measured here"


def fidelity(study: LdsRecord | None, method: str) -> dict[str, str]:
    """The LDS that was measured in this project with its standard error, or that none was."""
    found = None if study is None else study.methods.get(method)
    if found is None:
        return {"text": NOT_MEASURED, "tone": ""}
    return {"text": f"{found.lds:.2f} ± {found.standard_error:.2f}", "tone": "helper"}


def study_words(study: LdsRecord | None) -> str:
    """How the fidelity was measured, and how much is possible; else where it can be measured."""
    if study is None:
        return "Fidelity against retraining was not measured in this project yet: Trust does it."
    ceiling = "" if study.ceiling is None else f"; retraining itself reaches {study.ceiling:.2f}"
    return (
        f"LDS: rank correlation between predicted and retrained change over {study.subsets:,} random subsets, "
        f"{study.seeds} seeds each{ceiling}."
    )


def source_of_scores(explanation: Explanation) -> str:
    """Whether a method's scores are exact, or the index left a part of the gradients out."""
    if not explanation.trust["exact"]:
        return "index, strongest exact"
    return "exact gradients" if method_named(explanation.method).from_gradients else "no gradients"


def method_rows(
    infos: Mapping[str, MethodInfo],
    explanations: Sequence[Explanation],
    study: LdsRecord | None,
    reasons: Mapping[str, str | None],
) -> list[Row]:
    """A row for each explanation, numbered from 1; then a greyed row for each thing that is missing here."""
    rows = []
    for number, explanation in enumerate(explanations, start=1):
        info = infos[explanation.method]
        rows.append(
            Row(
                id=info.name,
                name=info.title,
                cells={
                    "method": f"{number}  {info.title}",
                    "fidelity": fidelity(study, info.name),
                    "seconds": explanation.seconds["total"],
                    "scale": "calibrated" if info.calibrated else "ranks only",
                    "source": source_of_scores(explanation),
                    "cost": info.cost,
                },
            )
        )
    missing: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if reason is not None:
            missing.setdefault(reason, []).append(infos[name].title)
    return rows + [
        Row(
            id=f"missing-{number}",
            name=", ".join(titles),
            cells={"method": ", ".join(titles)},
            unavailable=reason,
        )
        for number, (reason, titles) in enumerate(missing.items())
    ]
