"""All methods on one setting, ours and the peers', one after the other in one run on one thread."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attribution.curvature import automatic_damping

from .correlation import lds
from .exchange import Answer, Problem, read_answer, write_problem
from .ours import OURS, methods_for, scores
from .peers.registry import DATTRI_CG, KRONFLUENCE, PEERS
from .queries import MEASUREMENTS
from .run import SEED, Run
from .task import named, task_of
from .timing import timed
from .truth import Truth

PEERS_VARIABLE = "TRACEFIX_PEERS_PYTHON"
TIME_LIMIT = 3600.0
PACKAGES = Path(__file__).resolve().parents[1]
"""The folder that the peers' process finds this package in."""


class PeerError(Exception):
    """A peer's process failed."""


def compare(
    run: Run,
    truth: Truth,
    peers_python: str | None,
    methods: Sequence[str] | None = None,
    *,
    other_run: Callable[[int], Run],
) -> dict[str, Any]:
    """Results by measurement and method: ``lds``, ``standard_error``, ``seconds``, and times the two reference peers'.

    Args:
        peers_python: the Python of the peers' environment; None leaves the peers out.
        methods: of ours alone, by name; the reference peers then run for the ratios only.
        other_run: the same training from seed 2, 3, ..., for ensembles.
    """
    results: dict[str, Any] = {"versions": {}}
    asked = methods_for(run.setting.parameters)
    asked = asked if methods is None else [name for name in asked if name in methods]
    names = list(PEERS) if methods is None else [DATTRI_CG, KRONFLUENCE]
    for measurement in MEASUREMENTS:
        found = _ours(run, truth, measurement, asked, other_run)
        if peers_python is not None:
            found |= _peers(run, truth, measurement, peers_python, results["versions"], names)
        for method in found.values():
            for key, reference in (("times_dattri_cg", DATTRI_CG), ("times_kronfluence", KRONFLUENCE)):
                if reference in found:
                    method[key] = method["seconds"] / found[reference]["seconds"]
        results[measurement] = found if methods is None else {name: found[name] for name in asked}
    return results


def merged(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A comparison with some rows measured again or added, in the order of the tables."""
    order = (*OURS, *PEERS)
    result = {"versions": before.get("versions", {}) | found["versions"]}
    for measurement in MEASUREMENTS:
        rows = before.get(measurement, {}) | found[measurement]
        result[measurement] = {name: rows[name] for name in order if name in rows}
    return result


def _ours(
    run: Run, truth: Truth, measurement: str, names: Sequence[str], other_run: Callable[[int], Run]
) -> dict[str, Any]:
    queries = run.queries(measurement)
    tasks = [task_of(run)]
    most = max((OURS[name].models for name in names), default=1)
    tasks += [task_of(other_run(SEED + number)) for number in range(1, most)]
    found = {}
    for name in names:
        given, seconds = timed(lambda name=name: scores(name, tasks, queries))
        marks = {key: _number(value) for key, value in lds(truth, queries, given).items()}
        found[name] = {"title": OURS[name].title, **marks, "seconds": seconds}
        _say(run, measurement, found[name])
    return found


def _peers(
    run: Run, truth: Truth, measurement: str, python: str, versions: dict[str, str], names: Sequence[str]
) -> dict[str, Any]:
    queries = run.queries(measurement)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        write_problem(problem, problem_of(run, measurement))
        for name in names:
            peer = PEERS[name]
            if measurement not in peer.measurements or run.setting.data not in peer.data:
                continue
            answer = ask(name, problem, Path(folder) / f"{name}.npz", python)
            versions[peer.package] = answer.version
            marks = {key: _number(value) for key, value in lds(truth, queries, answer.scores).items()}
            found[name] = {"title": peer.title, **marks, "seconds": answer.seconds}
            _say(run, measurement, found[name])
    return found


def problem_of(run: Run, measurement: str) -> Problem:
    """The run as peers see it."""
    queries = run.queries(measurement)
    return Problem(
        widths=list(run.setting.widths),
        checkpoints=[named(run.setting.layers, parameters) for parameters in run.parameters],
        rates=run.rates,
        inputs=run.data.inputs,
        labels=run.data.labels,
        query_inputs=run.query_inputs,
        true=queries.true,
        predicted=queries.predicted,
        measurement=measurement,
        damping=automatic_damping(task_of(run)).value,
    )


def ask(name: str, problem: Path, answer: Path, python: str) -> Answer:
    """Run one peer in its own process.

    Raises:
        PeerError: it failed, or took more than an hour.
    """
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [python, "-m", "lds.peers", name, str(problem), str(answer)]
    try:
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{PEERS[name].title} took more than an hour.") from error
    if ran.returncode != 0:
        raise PeerError(f"{PEERS[name].title} failed:\n{ran.stderr[-2000:]}")
    return read_answer(answer)


def _number(value: float) -> float | None:
    """None in place of NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _say(run: Run, measurement: str, method: dict[str, Any]) -> None:
    mark = "NaN" if method["lds"] is None else f"{method['lds']:.3f}"
    print(
        f"{run.setting.title}, {measurement}: {method['title']}: {mark}, {method['seconds']:.2f} s",
        flush=True,
    )
