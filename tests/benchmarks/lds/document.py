"""The fidelity tables of docs/benchmarks.md, written from docs/fidelity.json so that the two never disagree."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .ours import OURS
from .queries import MEASUREMENTS
from .settings import SETTINGS

BEGIN = "<!-- fidelity: written by tests/benchmarks/fidelity.py from fidelity.json -->"
END = "<!-- fidelity: end -->"

Rows = list[list[str]]


def write_section(document: Path, results: dict[str, Any]) -> None:
    """Replace what stands between the two markers.

    Raises:
        ValueError: the document lacks a marker.
    """
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"{document} lacks the markers '{BEGIN}' and '{END}': put them where the tables belong."
        )
    document.write_text(f"{before}{BEGIN}\n\n{section(results)}\n{END}{after}", encoding="utf-8")


def section(results: dict[str, Any]) -> str:
    """Every table that the results allow, as Markdown."""
    settings = {name: results["settings"][name] for name in SETTINGS if name in results["settings"]}
    parts = []
    for data, title in (("digits", "digits"), ("fashion", "Fashion-MNIST")):
        chosen = [settings[n] for n in settings if SETTINGS[n].data == data and "comparison" in settings[n]]
        if chosen:
            parts.append(f"### Methods on {title}\n\n{_table(comparison_rows(chosen))}")
    studied = [setting for setting in settings.values() if "studies" in setting]
    if studied:
        parts.append(f"### Differences on the same queries\n\n{_table(paired_rows(studied))}")
        parts.append(f"### Damping\n\n{_table(damping_rows(studied))}")
        parts.append(f"### Which checkpoints `path` needs\n\n{_table(checkpoint_rows(studied))}")
    return "\n\n".join(parts) + "\n"


def comparison_rows(settings: Sequence[dict[str, Any]]) -> Rows:
    """One row for each method; seconds and ratios are medians over the columns."""
    columns = [(setting, measurement) for setting in settings for measurement in MEASUREMENTS]
    cells = [setting["comparison"][measurement] for setting, measurement in columns]
    best = [max((m["lds"] for m in cell.values() if m["lds"] is not None), default=0.0) for cell in cells]
    rows = [
        [
            "method",
            *(f"{_short(setting)}, {measurement}" for setting, measurement in columns),
            "seconds",
            "× dattri CG",
            "× kronfluence",
        ]
    ]
    for name in dict.fromkeys(name for cell in cells for name in cell):
        own = [cell.get(name) for cell in cells]
        present = [method for method in own if method is not None]
        rows.append(
            [
                present[0]["title"],
                *(_mark(method, top) for method, top in zip(own, best, strict=True)),
                _seconds(statistics.median(method["seconds"] for method in present)),
                *(_ratio(present, key) for key in ("times_dattri_cg", "times_kronfluence")),
            ]
        )
    for key, title in (("ceiling", "a perfect prediction"), ("halves", "two halves of the retrains")):
        values = [_plain(setting["agreement"][measurement][key]) for setting, measurement in columns]
        rows.append([f"*{title}*", *values, "", "", ""])
    return rows


def paired_rows(settings: Sequence[dict[str, Any]]) -> Rows:
    """How far one method's mark lies above another's: mean over queries ± standard error."""
    names = list(settings[0]["studies"]["margin"]["paired"])
    rows = [["setting, measurement", *(_pair_title(name) for name in names)]]
    for setting in settings:
        for measurement in MEASUREMENTS:
            found = setting["studies"][measurement]
            cells = [
                f"{_plain(found['paired'][name]['difference'])} ± {_plain(found['paired'][name]['standard_error'])}"
                for name in names
            ]
            rows.append([f"{setting['title']}, {measurement}", *cells])
    return rows


def damping_rows(settings: Sequence[dict[str, Any]]) -> Rows:
    """Final model and path for every damping, margin measurement; the best of each row is bold.

    With exact curvature path takes all six checkpoints, with equal weights.
    """
    names = list(settings[0]["studies"]["margin"]["damping"])
    rows = [["λ", *(_damping_title(name) for name in names)]]
    for setting in settings:
        studies = setting["studies"]
        for curvature, found in (
            ("EK-FAC", studies["margin"]["damping"]),
            ("exact", setting.get("exact_damping", {}).get("margin")),
        ):
            along = "path" if curvature == "EK-FAC" else "all six checkpoints"
            for place, words in (("final", "final model"), ("path", along)):
                if found:
                    values = [found[name][place]["lds"] if name in found else None for name in names]
                    best = max(value for value in values if value is not None)
                    marks = ["" if value is None else _bold(value, best) for value in values]
                    rows.append([f"{setting['title']}: {words}, {curvature}", *marks])
    return rows


def checkpoint_rows(settings: Sequence[dict[str, Any]]) -> Rows:
    """Balanced / equal weights / weights by learning rate for every choice of checkpoints, margin measurement."""
    rows = [["checkpoints", *(setting["title"] for setting in settings)]]
    for name in settings[0]["studies"]["margin"]["checkpoints"]:
        row = [name]
        for setting in settings:
            found = setting["studies"]["margin"]["checkpoints"][name]
            weightings = ("balanced", "equal", "by_rate")
            row.append(" / ".join(_plain(found[weighting]["lds"]) for weighting in weightings))
        rows.append(row)
    return rows


def _table(rows: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _short(setting: dict[str, Any]) -> str:
    return str(setting["title"]).partition(", ")[2]


def _damping_title(name: str) -> str:
    return name.replace("mean of the layer", "mean") if "×" in name else name.replace("0.", ".")


def _pair_title(name: str) -> str:
    """The names in ``first - second`` as the tables show them."""
    titles = {"best_ekfac": "ekfac, best λ"}
    first, second = (titles.get(one) or OURS[one].title.partition(", its")[0] for one in name.split(" - "))
    return f"{first} less {second}"


def _plain(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _bold(value: float, best: float) -> str:
    return f"**{_plain(value)}**" if round(value, 3) == round(best, 3) else _plain(value)


def _mark(method: dict[str, Any] | None, best: float) -> str:
    if method is None:
        return "-"
    if method["lds"] is None:
        return "NaN"
    text = f"{_plain(method['lds'])} ± {_plain(method['standard_error'])}"
    return f"**{text}**" if method["lds"] == best else text


def _seconds(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _ratio(methods: Sequence[dict[str, Any]], key: str) -> str:
    known = [method[key] for method in methods if key in method]
    return _seconds(statistics.median(known)) if known else "-"
