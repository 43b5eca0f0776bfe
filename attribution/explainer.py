"""`Explainer`: a prepared project in memory, ready to say which training examples a prediction comes from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.breakdown import Breakdown, break_down
from attribution.common import distinct
from attribution.errors import MissingRequirementError, UsageError
from attribution.explanation import Explanation
from attribution.inspector import Inspector
from attribution.linear_head import HEAD_PENALTY, with_ones
from attribution.methods import DirectionalMethod, Method, default_method, method_named
from attribution.methods.source import Source
from attribution.progress import SILENT, Reporter
from attribution.projects import Project
from attribution.projects.lds_record import lds_stamp
from attribution.projects.locking import exclusive
from attribution.query import Query, Target
from attribution.runs import Run, ensemble_runs
from attribution.scoring import check_scores, explained
from attribution.selection import FlippingSet, HeadRemoval, smallest_flipping_set
from attribution.stages import before

_REMEMBERED = 64

_PORTION = 16
"""Test examples of a group whose gradients are held in memory at once."""


class Explainer(Inspector):
    """Answers questions about the predictions of one prepared project.

    Safe to share between threads: one question at a time.

    Args and errors are those of `Inspector`.
    """

    def __init__(self, project: Project, *, device: str = "auto") -> None:
        super().__init__(project, device=device)
        self._ensemble: list[Run] | None = None
        self._remembered: OrderedDict[
            tuple[tuple[str, ...], str, str, bool, bool, bool, int], Explanation
        ] = OrderedDict()

    def explain(
        self,
        test_id: str,
        *,
        method: str | None = None,
        measurement: str = "margin",
        use_index: bool = True,
        refine: bool = False,
        ensemble: bool = False,
        preliminary: Callable[[Explanation], None] | None = None,
        reporter: Reporter = SILENT,
    ) -> Explanation:
        """Score all training examples for a measurement of a test example.

        Args:
            use_index: False computes every score from fresh gradients, which is exact and slow.
            refine: invert the curvature exactly (conjugate gradients) rather than by EK-FAC alone.
            ensemble: average over the project's model and the further ones that its task ships.
            preliminary: called with the explanation as the index alone gives it, before its strongest examples are
                computed exactly.

        Raises:
            NotFoundError: no such example, method or class.
            MissingRequirementError: the method needs something this project lacks.
            NumericalError: a score is NaN or infinite, or a solve did not converge.
        """
        return self.explain_group(
            [test_id],
            method=method,
            measurement=measurement,
            use_index=use_index,
            refine=refine,
            ensemble=ensemble,
            preliminary=preliminary,
            reporter=reporter,
        )

    def explain_group(
        self,
        test_ids: Sequence[str],
        *,
        method: str | None = None,
        measurement: str = "margin",
        use_index: bool = True,
        refine: bool = False,
        ensemble: bool = False,
        preliminary: Callable[[Explanation], None] | None = None,
        reporter: Reporter = SILENT,
    ) -> Explanation:
        """Score all training examples for a measurement of several test examples together, by the mean of their scores.

        Its culprits and helpers are the common ones: those first that are among the 20 strongest of the most test
        examples. Of a single one it is what `explain` says.

        Raises:
            As `explain`; UsageError: no test example.
        """
        ids = distinct(test_ids)
        chosen = self._method(method)
        targets = [self._target(test_id, measurement) for test_id in ids]
        fidelity = lds_stamp(self.project.directory)
        key = (tuple(ids), chosen.info.name, measurement, use_index, refine, ensemble, fidelity)
        with self._lock:
            if key not in self._remembered or ".py:" in measurement:
                starts = range(0, len(targets), _PORTION)
                portions = [
                    self._queries(
                        chosen,
                        targets[start : start + _PORTION],
                        use_index,
                        refine,
                        ensemble,
                        reporter.share(
                            start / len(targets), min(start + _PORTION, len(targets)) / len(targets)
                        ),
                    )
                    for start in starts
                ]
                examples = [self.project.example("test", test_id) for test_id in ids]
                found = explained(self._run, chosen, portions, examples, measurement, preliminary)
                self._remembered[key] = found
                while len(self._remembered) > _REMEMBERED:
                    self._remembered.popitem(last=False)
            return self._remembered[key]

    def explain_stage(
        self,
        test_id: str,
        earlier: Sequence[Explainer],
        *,
        measurement: str = "margin",
        use_index: bool = True,
        reporter: Reporter = SILENT,
    ) -> Explanation:
        """Score the training examples of an earlier stage of training for a measurement of a test example, by SOURCE.

        Args:
            earlier: the stages before this one, the latest first; the data of the last of them are scored.

        Raises:
            As `explain`; UsageError: two stages have no parameters in common.
        """
        source = Source()
        engines = [self, *earlier]
        with ExitStack() as locks:
            # In the same order whoever asks: two questions the other way round would wait for each other.
            for engine in sorted(engines, key=id):
                locks.enter_context(engine._lock)
            for engine in engines:
                engine._method(source.info.name)
            query = self._queries(
                source,
                [self._target(test_id, measurement)],
                use_index,
                False,
                False,
                reporter.share(0.0, 0.3),
            )[0]
            for engine in earlier:
                engine._run.complete(source, reporter.share(0.3, 0.6))
                query = before(query, source, engine._loaded)
            return explained(
                engines[-1]._run,
                source,
                [[query]],
                [self.project.example("test", test_id)],
                measurement,
                of_later_stage=bool(earlier),
            )

    def scores(
        self,
        test_ids: Sequence[str],
        *,
        method: str | None = None,
        measurement: str = "margin",
        use_index: bool = True,
        refine: bool = False,
        ensemble: bool = False,
        reporter: Reporter = SILENT,
    ) -> NDArray[np.float32]:
        """Scores (Q, n_train) of Q test examples at once, in training order.

        A group of test examples is explained together by the mean over rows. Of the methods that are linear in the
        measurement (all but grad_cos and path, whose weights depend on the test example), that is the score of the
        mean measurement. With the index, no example is computed again exactly.

        Raises:
            As `explain`.
        """
        chosen = self._method(method)
        targets = [self._target(test_id, measurement) for test_id in test_ids]
        with self._lock:
            queries = self._queries(chosen, targets, use_index, refine, ensemble, reporter)
            found = chosen.averaged(queries)
        check_scores(found, chosen, ", ".join(list(test_ids)[:3]))
        return found.to(torch.float32).numpy()

    def self_influence(self, *, reporter: Reporter = SILENT) -> NDArray[np.float32]:
        """(1/N) g_iᵀ (H + λI)⁻¹ g_i (n_train,) at the final model: how much each example holds up its own prediction.

        Large values point at label errors and outliers (Koh & Liang 2017, § 5.4). From the index: of compressed
        gradients the part that it keeps.
        """
        with self._lock:
            self._run.complete(method_named("ekfac"), reporter)
            found = self._loaded.index.self_dots(self._loaded.trajectory.final.number)
        return (found / self.task.size("train")).to(torch.float32).numpy()

    def breakdown(
        self, test_id: str, train_id: str, *, method: str | None = None, measurement: str = "margin"
    ) -> Breakdown:
        """Which layers, and of a text which tokens, of a training example make up its score.

        Raises:
            NotFoundError: no such example or method.
            UsageError: the method does not come from gradients.
        """
        chosen = self._method(method)
        if not isinstance(chosen, DirectionalMethod):
            raise UsageError(
                f"The scores of '{chosen.info.name}' have no parts by layer: use ekfac, path, tracin or grad_dot."
            )
        position = self.project.position("train", train_id)
        with self._lock:
            self._run.complete(chosen, SILENT)
            query = Query(self._loaded, [self._target(test_id, measurement)])
            found = break_down(query, chosen.directions(query), position)
        if found.by_token is None:
            return found
        return replace(found, by_word=self._own_attributor().by_word("train", train_id, found.by_token))

    def flipping_set(
        self, test_id: str, *, largest: int = 50, per_round: int = 1, penalty: float = HEAD_PENALTY
    ) -> FlippingSet:
        """A small set of training examples without which the refitted last layer predicts a test example otherwise.

        Whether the whole model follows is for `verify` to say: everything before the last layer is held fixed here.

        Args:
            largest: examples in the set at most.
            per_round: chosen before scores are computed again.
            penalty: L2 strength of the refits.

        Raises:
            NotFoundError: no such example.
            MissingRequirementError: the logits do not come out of a linear layer.
        """
        problem = method_named("representer").missing(self.facts)
        if problem is not None:
            raise MissingRequirementError(f"A flipping set cannot be found here. {problem}")
        with self._lock:
            query = Query(self._loaded, [self._target(test_id, "margin")])
            removal = HeadRemoval(
                inputs=with_ones(query.representations(query.final)),
                labels=query.labels(),
                classes=len(self.task.class_names),
                loss=self.task.loss,
                penalty=penalty,
                test_input=with_ones(query.test_representation(query.final)),
                test_label=query.test_labels(),
                value=query.targets[0].measurement.value,
            )
            return smallest_flipping_set(removal, largest, per_round)

    # -- inside -------------------------------------------------------------------------------------------------

    def _method(self, name: str | None) -> Method:
        chosen = method_named(name or default_method(self.facts))
        problem = chosen.missing(self.facts)
        if problem is not None:
            raise MissingRequirementError(f"The method '{chosen.info.name}' cannot run here. {problem}")
        return chosen

    def _target(self, test_id: str, measurement: str) -> Target:
        position = self.project.position("test", test_id)
        return Target(
            position, self._measurement(measurement, self.project.predictions("test").iloc[position])
        )

    def _queries(
        self,
        method: Method,
        targets: Sequence[Target],
        use_index: bool,
        refine: bool,
        ensemble: bool,
        reporter: Reporter,
    ) -> list[Query]:
        """The question, to each of the models that it is asked of; what their indexes lack is built."""
        runs = [self._run, *(self._further_runs(method, reporter) if ensemble else [])]
        queries = []
        for done, run in enumerate(runs):
            share = reporter.share(done / len(runs), (done + 1) / len(runs))
            run.complete(method, share)
            queries.append(Query(run.loaded, targets, use_index=use_index, refine=refine, reporter=share))
        return queries

    def _further_runs(self, method: Method, reporter: Reporter) -> list[Run]:
        if not self.task.ensemble:
            raise MissingRequirementError(
                "This project has one trained model, so there is nothing to average over: give further ones with "
                "tracefix new --ensemble or Task(ensemble=...)."
            )
        if self._ensemble is None:
            with exclusive(self.project.directory, reporter):
                self._ensemble = ensemble_runs(self._run, self.device)
        for number, run in enumerate(self._ensemble, start=1):
            problem = method.missing(run.facts)
            if problem is not None:
                raise MissingRequirementError(
                    f"The method '{method.info.name}' cannot run on model {number} of the ensemble. {problem}"
                )
        return self._ensemble
