"""How well predicted effects of training examples agree with real retraining, for our methods and others'.

    python tests/benchmarks/fidelity.py [SETTING ...] [--parts comparison studies] [--fashion FOLDER]
                                        [--methods NAME ...] [--peers PYTHON] [--cache FOLDER] [--render]

Settings: digits-noisy, digits-clean, fashion-noisy, fashion-full (tests/benchmarks/lds/settings.py). The first run
retrains 1,000 (digits), 500 and 300 (Fashion-MNIST) models and keeps what they predict in the cache; interrupted, it
goes on where it stopped. Everything runs on one thread.

--fashion FOLDER   Fashion-MNIST's four original .gz files; else $TRACEFIX_FASHION
--methods NAME ... only these methods of ours are compared; the other rows stay as they are
--peers PYTHON     Python of an environment with kronfluence, dattri, captum, traker and pyDVL; else
                   $TRACEFIX_PEERS_PYTHON. Without it the tables hold our methods alone, without ratios of speed.
--cache FOLDER     else $TRACEFIX_BENCHMARK_CACHE, else the user's cache directory
--render           only write the tables of docs/benchmarks.md again

Writes docs/fidelity.json and, from it, the tables of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from lds.cache import cache_folder
from lds.compare import PEERS_VARIABLE, PeerError, compare, merged
from lds.correlation import agreement
from lds.data import FASHION_VARIABLE, MissingDataError, fashion_folder
from lds.document import write_section
from lds.ours import OURS
from lds.queries import MEASUREMENTS
from lds.run import Run, trained_run
from lds.settings import SETTINGS
from lds.studies import study
from lds.truth import Truth, retrained

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "docs" / "fidelity.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PARTS = ("comparison", "studies")


def main() -> None:
    arguments = parsed()
    if not arguments.render:
        torch.set_num_threads(1)
        fashion = fashion_folder(arguments.fashion)
        for name in chosen_settings(arguments.settings, fashion):
            train = partial(trained_run, SETTINGS[name], cache_folder(arguments.cache), fashion)
            run = train()
            truth = retrained(run, cache_folder(arguments.cache))
            found = measure(run, truth, arguments.parts, arguments.peers, arguments.methods, train)
            results = written()  # only now: another run may have added to it meanwhile
            before = results["settings"].get(name, {})
            if "comparison" in found and arguments.methods:
                found["comparison"] = merged(before.get("comparison", {}), found["comparison"])
            results["settings"][name] = before | found
            write(results)
        if not arguments.peers:
            print(f"Other libraries are left out: name their Python with --peers or {PEERS_VARIABLE}.")
    write_section(DOCUMENT, written())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", choices=[*SETTINGS, []], metavar="SETTING")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--methods", nargs="+", choices=OURS, metavar="NAME")
    parser.add_argument("--fashion")
    parser.add_argument("--peers", default=os.environ.get(PEERS_VARIABLE))
    parser.add_argument("--cache")
    parser.add_argument("--render", action="store_true")
    return parser.parse_args()


def chosen_settings(asked: list[str], fashion: Path | None) -> list[str]:
    """What was asked for; else all settings whose data are here."""
    if asked or fashion is not None:
        return asked or list(SETTINGS)
    print(f"Fashion-MNIST is left out: name the folder of its files with --fashion or {FASHION_VARIABLE}.")
    return [name for name, setting in SETTINGS.items() if setting.data != "fashion"]


def measure(
    run: Run,
    truth: Truth,
    parts: tuple[str, ...],
    peers: str | None,
    methods: list[str] | None,
    other_run: Callable[[int], Run],
) -> dict[str, Any]:
    """Everything about one setting that the parts ask for."""
    setting = run.setting
    found: dict[str, Any] = {
        "title": setting.title,
        "setting": {**vars(setting), "parameters": setting.parameters},
        "checkpoint_steps": run.steps,
        "mispredictions": run.mispredictions,
        "retrained": setting.subsets * setting.seeds,
        "retrain_seconds": truth.seconds,
        "agreement": {m: agreement(truth, run.queries(m)) for m in MEASUREMENTS},
    }
    if "comparison" in parts:
        found["comparison"] = compare(run, truth, peers, methods, other_run=other_run)
        found["comparison"]["versions"] |= {"python": platform.python_version(), "torch": torch.__version__}
    if "studies" in parts:
        found["studies"] = study(run, truth)
    return found


def written() -> dict[str, Any]:
    """The results so far."""
    return json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {"settings": {}}


def write(results: dict[str, Any]) -> None:
    """Under a temporary name first, so that a stopped run leaves whole results."""
    temporary = OUTPUT.with_suffix(".partial")
    temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, OUTPUT)


if __name__ == "__main__":
    try:
        main()
    except (MissingDataError, PeerError) as error:
        sys.exit(str(error))
