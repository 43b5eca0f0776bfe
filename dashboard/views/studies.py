"""What studies measured, in sentences and as rows of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attribution.methods import MethodInfo
from dashboard.components.table import Column, Row

if TYPE_CHECKING:
    from attribution.projects.lds_record import LdsRecord
    from attribution.projects.study_records import CorrectionRecord, FadingRecord, MislabelRecord

LDS_COLUMNS = [
    Column("method", "Method", "text"),
    Column("fidelity", "Fidelity (LDS)", "chip"),
    Column("seconds", "Scoring all test examples", "seconds", align="right"),
]
DETECTOR_COLUMNS = [
    Column("detector", "Looks at", "text"),
    Column("area", "Wrong label more suspicious than a right one", "chip"),
    Column("seconds", "Time", "seconds", align="right"),
]
CORRECTION_COLUMNS = [
    Column("strategy", "Strategy", "word"),
    Column("selector", "Examples by", "text"),
    Column("success", "Fixed", "percent", align="right"),
    Column("steps", "Median steps", "text", align="right", minor=True),
    Column("accuracy", "Test accuracy, points", "text", align="right"),
    Column("fixed", "Others fixed", "text", align="right", minor=True),
    Column("broken", "Others broken", "text", align="right"),
]

DETECTORS = {
    "loss": "The training loss of each label",
    "held_out": "A last layer that was not shown the label",
    "neighbours": "The labels of the ten nearest look-alikes",
    "self_influence": "Each example's influence on itself (EK-FAC)",
    "random": "Nothing: random numbers",
}

BASELINE = "random"


def lds_sentence(study: LdsRecord, titles: Mapping[str, str]) -> str:
    """Which method to believe most here, how far, and how far one could get."""
    best = max(study.methods, key=lambda name: study.methods[name].lds)
    found = study.methods[best]
    reach = (
        ""
        if study.ceiling is None
        else f" Who knew what training does on average would reach {study.ceiling:.2f}."
    )
    return (
        f"Believe {titles.get(best, best)} most here: what its scores add up to for a random half of the training data "
        f"ranks {study.subsets:,} such halves as models trained on them do, with a correlation of {found.lds:.2f} ± "
        f"{found.standard_error:.2f}.{reach}"
    )


def lds_rows(study: LdsRecord, infos: Mapping[str, MethodInfo]) -> list[Row]:
    """A row for each method, the best first."""
    ranked = sorted(study.methods.items(), key=lambda pair: -pair[1].lds)
    return [
        Row(
            id=name,
            name=infos[name].title if name in infos else name,
            cells={
                "method": infos[name].title if name in infos else name,
                "fidelity": {"text": f"{found.lds:.2f} ± {found.standard_error:.2f}", "tone": _tone(name)},
                "seconds": found.seconds,
            },
        )
        for name, found in ranked
    ]


def fading_sentence(study: FadingRecord, titles: Mapping[str, str]) -> str:
    """For how long each method's scores foretell what an example does."""
    last = study.steps[-1]
    parts = []
    for name, held in study.holds_until.items():
        if name == BASELINE:
            continue
        until = "not at all" if held is None else f"for {held:,} {'step' if held == 1 else 'steps'}"
        more = " or longer" if held == last else ""
        parts.append(f"{titles.get(name, name)} {until}{more}")
    return (
        "As training goes on, scores foretell less and less what a training example does. Here they do (correlation "
        f"of .5 or more): {'; '.join(parts)}."
    )


def mislabel_sentence(study: MislabelRecord) -> str:
    """What was to be found, and what finds it best."""
    best = max(study.detectors, key=lambda name: study.detectors[name].auc)
    counts = " and ".join(f"{count:,}" for count in study.wrong)
    what = (
        f"{counts} wrong labels that were planted, in models trained on them"
        if study.planted
        else f"the {counts} training labels that are known to be wrong"
    )
    said = DETECTORS.get(best, best)
    return f"Of {what}: most are found by looking at {said[0].lower()}{said[1:]}."


def detector_rows(study: MislabelRecord) -> list[Row]:
    """A row for each detector, the best first."""
    ranked = sorted(study.detectors.items(), key=lambda pair: -pair[1].auc)
    return [
        Row(
            id=name,
            name=DETECTORS.get(name, name),
            cells={
                "detector": DETECTORS.get(name, name),
                "area": {
                    "text": f"{found.auc:.1%} ± {100 * found.standard_error:.1f}",
                    "tone": _tone(name),
                },
                "seconds": found.seconds,
            },
        )
        for name, found in ranked
    ]


def correction_sentence(study: CorrectionRecord) -> str:
    """How many mispredictions the table is of, and what to look at in it."""
    return (
        f"Each strategy on {study.mispredictions:,} mispredictions. Nearly anything fixes one: what tells choices of "
        "examples apart is what else they break, next to examples drawn at random."
    )


def correction_rows(study: CorrectionRecord, titles: Mapping[str, str]) -> list[Row]:
    """A row for each strategy and choice of examples."""
    return [
        Row(
            id=f"{strategy} {selector}",
            name=f"{strategy}, examples by {selector}",
            cells={
                "strategy": strategy,
                "selector": titles.get(selector, selector.replace("_", " ")),
                "success": found.success,
                "steps": "-" if found.median_steps is None else f"{found.median_steps:g}",
                "accuracy": _around(
                    100 * found.accuracy_change, found.accuracy_change_standard_error, 100, "+.2f"
                ),
                "fixed": f"{found.newly_fixed:.1f}",
                "broken": _around(found.newly_broken, found.newly_broken_standard_error, 1, ".1f"),
            },
        )
        for strategy, selectors in study.strategies.items()
        for selector, found in selectors.items()
    ]


def _tone(name: str) -> str:
    return "" if name == BASELINE else "helper"


def _around(value: float, error: float | None, scale: float, style: str) -> str:
    return f"{value:{style}}" + ("" if error is None else f" ± {scale * error:.{style[-2]}f}")
