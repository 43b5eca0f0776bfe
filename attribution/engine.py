"""`Engine`: a prepared project in memory, ready to explain and to fix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attribution.common import distinct
from attribution.errors import UsageError
from attribution.explainer import Explainer
from attribution.explanation import Explanation
from attribution.fixing import (
    FixRequest,
    FixSettings,
    PatchedModels,
    Replayed,
    Suggestion,
    check_strategy,
    run_fix,
    run_replay,
    strategy_of,
    suggest,
    suggested_edits,
)
from attribution.fixing.context import FixContext
from attribution.fixing.verify import SEEDS, verify_fix
from attribution.methods import default_method, method_named
from attribution.progress import SILENT, Reporter
from attribution.projects import Edit, FixRecord, Project, VerificationRecord
from attribution.runs import own_run
from attribution.saliency import InputAttributor, Saliency


class Engine(Explainer):
    """Explains predictions of one prepared project and fixes wrong ones.

    Safe to share between threads: one question at a time.

    Args and errors are those of `Inspector`.
    """

    def __init__(self, project: Project, *, device: str = "auto") -> None:
        super().__init__(project, device=device)
        self._patched = PatchedModels()
        self._attributor_of_fix: tuple[str, InputAttributor] | None = None

    def suggest(
        self,
        explanation: Explanation,
        *,
        strategy: str = FixSettings.strategy,
        top: int = FixSettings.top,
    ) -> list[Edit]:
        """The edits a strategy proposes for an explanation: the ``top`` training examples and what to do with each.

        Raises:
            NotFoundError: no such strategy.
        """
        relative = self._relative(explanation) if strategy == "helpers" else None
        return suggested_edits(self.project, explanation, strategy=strategy, top=top, relative=relative)

    def propose(
        self,
        test_id: str | Sequence[str],
        *,
        method: str | None = None,
        measurement: str = "margin",
        ensemble: bool = False,
        steps: int = FixSettings.steps,
        seed: int = FixSettings.seed,
        guard: int | None = FixSettings.guard,
        base: str | None = None,
        reporter: Reporter = SILENT,
    ) -> Suggestion:
        """The smallest set of edits, of all strategies, that fixes a test example, or several, with the least harm.

        Every set is tested by the steps that `fix` takes. Harm is measured on training examples; only a ``guard`` looks
        at test predictions.

        Raises:
            As `fix`.
        """
        ids = distinct([test_id] if isinstance(test_id, str) else test_id)
        name = method or default_method(self.facts)
        with self._lock:
            explanation = self.explain_group(
                ids,
                method=name,
                measurement=measurement,
                ensemble=ensemble,
                reporter=reporter.share(0.0, 0.2),
            )
            request = FixRequest(
                positions=[self.project.position("test", one) for one in ids],
                strategy=FixSettings.strategy,
                edits=[],
                method=name,
                measurement=measurement,
                max_steps=steps,
                seed=seed,
                guard=guard,
                controls=False,
            )
            held_out = self._run.held_out(reporter)
            context = self._patched.context(FixContext.of(self._run), base, reporter.share(0.2, 0.3))
            return suggest(
                context,
                explanation,
                held_out,
                request,
                reporter.share(0.3, 1.0),
                relative=self._relative(explanation),
            )

    def fix(
        self,
        test_id: str | Sequence[str],
        *,
        strategy: str = FixSettings.strategy,
        edits: Sequence[Edit] | None = None,
        train_ids: Sequence[str] | None = None,
        top: int = FixSettings.top,
        method: str | None = None,
        measurement: str = "margin",
        ensemble: bool = False,
        steps: int = FixSettings.steps,
        seed: int = FixSettings.seed,
        guard: int | None = FixSettings.guard,
        controls: bool = True,
        base: str | None = None,
        reporter: Reporter = SILENT,
    ) -> FixRecord:
        """Fine-tune a copy of the model on chosen training examples until the test example is predicted right.

        Of several ids, all of them are to be predicted right at once, and the explanation is that of `explain_group`.

        ``edits`` say exactly what to do (``strategy`` then only how examples are removed, see `strategy_of`); else
        ``train_ids`` with the strategy's action; else the strategy's own suggestion from the explanation by ``method``
        (averaged over the ``ensemble``, if asked). With a ``guard`` it ends before a step that would break more than so
        many other test predictions. Without ``controls`` a fix shows nothing about the chosen examples: leave them out
        only where they are compared otherwise. The result is not saved.

        A fix on top of another one, its ``base``, starts from that one's model: it is to correct what that model gets
        wrong, and side effects, guard and controls are against it. The explanation, and with it the suggestion, stays
        that of the original model.

        Raises:
            NotFoundError: no such test or training example, strategy, method or base.
            UsageError: nothing to fix or to train on, an example is predicted right already, or the numbers make no
                sense.
            NumericalError: fine-tuning diverged.
        """
        if top < 1 or steps < 1:
            raise UsageError("--top and --steps must be at least 1.")
        if guard is not None and guard < 0:
            raise UsageError("--guard must be at least 0: the number of other predictions that may break.")
        ids = distinct([test_id] if isinstance(test_id, str) else test_id)
        positions = [self.project.position("test", one) for one in ids]
        name = method or default_method(self.facts)
        reasons: list[str] = []
        with self._lock:
            check_strategy(strategy)
            if edits is not None:
                strategy = strategy_of(edits, strategy)
            elif strategy == "test":
                if train_ids is not None:
                    raise UsageError(
                        "The strategy 'test' trains on the test example itself: leave --train-ids out."
                    )
                edits = []
            elif strategy == "suggest":
                if train_ids is not None:
                    raise UsageError(
                        "The strategy 'suggest' chooses training examples itself: leave --train-ids out."
                    )
                proposal = self.propose(
                    ids,
                    method=name,
                    measurement=measurement,
                    ensemble=ensemble,
                    steps=steps,
                    seed=seed,
                    guard=guard,
                    base=base,
                    reporter=reporter.share(0.0, 0.6),
                )
                edits, strategy, reasons = proposal.edits, proposal.strategy, proposal.reasons
                reporter = reporter.share(0.5, 1.0)
            else:
                explanation = self.explain_group(
                    ids,
                    method=name,
                    measurement=measurement,
                    ensemble=ensemble,
                    reporter=reporter.share(0.0, 0.2),
                )
                if train_ids is None:
                    edits = self.suggest(explanation, strategy=strategy, top=top)
                else:
                    edits = suggested_edits(self.project, explanation, strategy=strategy, train_ids=train_ids)
            request = FixRequest(
                positions=positions,
                strategy=strategy,
                edits=list(edits),
                method=name,
                measurement=measurement,
                max_steps=steps,
                seed=seed,
                guard=guard,
                controls=controls,
            )
            context = self._patched.context(FixContext.of(self._run), base, reporter.share(0.2, 0.4))
            record = run_fix(context, request, reporter.share(0.2 if base is None else 0.4, 1.0))
            return record.model_copy(update={"suggestion": reasons})

    def saliency(
        self,
        example_id: str,
        *,
        split: str = "test",
        measurement: str = "margin",
        measured_for: str | None = None,
        base: str | None = None,
        reporter: Reporter = SILENT,
    ) -> Saliency:
        """As `Explainer.saliency`, of the model with the fix ``base`` where one is named.

        Raises:
            As `Explainer.saliency` and, with a base, as `replay`.
        """
        if base is None:
            return super().saliency(
                example_id,
                split=split,
                measurement=measurement,
                measured_for=measured_for,
                reporter=reporter,
            )
        with self._lock:
            context = self._patched.context(FixContext.of(self._run), base, reporter.share(0.0, 0.5))
            if self._attributor_of_fix is None or self._attributor_of_fix[0] != base:
                attributor = InputAttributor(self.project, self.task, context.model, self.device)
                self._attributor_of_fix = (base, attributor)
            attributor = self._attributor_of_fix[1]
        measured, label = self._measured(split, example_id, measurement, measured_for, context.predictions)
        return attributor.saliency(split, example_id, measured, label, reporter=reporter.share(0.5, 1.0))

    def predictions(self, base: str | None = None, *, reporter: Reporter = SILENT) -> pd.DataFrame:
        """Predictions of the test set by the model with the fix ``base``, as `Project.predictions` has the original's.

        Raises:
            As `replay`.
        """
        with self._lock:
            return self._patched.context(FixContext.of(self._run), base, reporter).predictions

    def replay(self, fix_id: str, *, reporter: Reporter = SILENT) -> Replayed:
        """The patched model of a fix of the history, made again from its recipe and compared with its record.

        So are the fixes beneath it, also where they were deleted.

        Raises:
            NotFoundError: no such fix, one beneath it is gone, or its examples are gone.
            ProjectError: model or data changed since, or the replay does not give the recorded result.
        """
        fix = self.project.history.get(fix_id)
        self.project.history.stack(fix_id)  # says which one is gone, if one is
        with self._lock:
            context = self._patched.context(FixContext.of(self._run), fix.base, reporter.share(0.0, 0.5))
            return run_replay(context, fix, reporter.share(0.5 if fix.base else 0.0, 1.0))

    def verify(self, fix_id: str, *, seeds: int = SEEDS, reporter: Reporter = SILENT) -> VerificationRecord:
        """Train the model again with the edits of a fix and without, and compare with what attribution predicts.

        Takes as long as 2 x ``seeds`` trainings, half of which are remembered. Other questions are answered meanwhile.
        The record is saved in the project's history when all is done; until then nothing is written.

        Raises:
            NotFoundError: no such fix, or its examples are gone.
            UsageError: fewer than one seed, or a fix that edits no training data.
            MissingRequirementError: the training record lacks something.
            NumericalError: training diverged.
            ProjectError: what training starts from does not fit, or the folder cannot be written.
        """
        fix = self.project.history.get(fix_id)
        targets = [self._target(test_id, "margin") for test_id in fix.test_ids]
        # A run of its own, because refining the curvature may take minutes, too.
        run = own_run(self.project, self.task, self.device)
        fixes = self.project.history.stack(fix_id)
        record = verify_fix(run, fixes, targets, seeds=seeds, reporter=reporter)
        self.project.history.save_verification(record)
        return record

    def _relative(self, explanation: Explanation) -> NDArray[np.float64] | None:
        """Influence on the margin per length of each example's gradient in the curvature, final model, (n_train,).

        g_fᵀ(H + λI)⁻¹g_i / √(g_iᵀ(H + λI)⁻¹g_i), the relative influence of Barshan et al. 2020 (θ-RelatIF). None for a
        method that does not estimate retraining: its ranking is left as it is.
        """
        if not method_named(explanation.method).estimates_retraining:
            return None
        with self._lock:
            own = self.self_influence().astype(np.float64)
            ids = [str(example["id"]) for example in explanation.examples]
            influence = self.scores(ids, method="ekfac").mean(axis=0)
        lengths = np.sqrt(np.maximum(own, 0))
        result: NDArray[np.float64] = influence / np.maximum(lengths, 1e-6 * lengths.max(initial=1e-30))
        return result
