"""What retraining with the edits of a fix gave, beside what attribution had predicted. Light: no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from attribution.projects.records import Action


class PredictedPart(BaseModel):
    """By how much one edit should move the margin, by attribution."""

    train_id: str
    action: Action
    predicted: float


class Change(BaseModel):
    """A change of the margin by retraining, over paired seeds."""

    mean: float
    interval: tuple[float, float] | None
    """95 % t-interval of the mean; None for a single seed."""
    per_seed: list[float]


class Share(BaseModel):
    """A share in [0, 1] over retrained models, or a number of each of them, with the edits and without."""

    without_edits: float
    with_edits: float


class VerificationRecord(BaseModel):
    """A fix put to the test: models retrained with its edits and without, seed by seed.

    The margin is log p(predicted before) - log p(true) of the test example that was mispredicted, the mean of it where
    there are several: edits that work make it fall.
    """

    fix_id: str
    created: str
    beneath: list[str] = Field(default_factory=list)
    """The fixes that it was made on top of, whose edits were made too."""
    test_ids: list[str]
    seeds: list[int]
    method: str
    """The attribution method of the prediction."""
    refined: bool
    """Whether a few steps of conjugate gradients refined its curvature."""
    fix_method: str
    """The one that the fix was chosen by: another one where its scores do not estimate retraining."""
    predicted: float
    parts: list[PredictedPart]
    actual: Change
    margins_without: list[float]
    """Margin of each model retrained without the edits: their spread is what a seed alone does."""
    retrained_right: Share
    """In how many of the retrained models the test examples are predicted right."""
    accuracy: Share
    """Test accuracy of the retrained models."""
    from_step: int
    """Step of the recorded run that retraining started from; 0 is its beginning."""
    steps: int
    """Of the recorded run."""
    batch_size: int
    optimizer: str
    device: str
    seconds: float
    trained: int
    """Models that were trained for this; those without the edits are remembered between verifications."""
    versions: dict[str, str] = Field(default_factory=dict)

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix verify --json`` prints, but for the sentence."""
        return {
            "fix_id": self.fix_id,
            "test_ids": self.test_ids,
            "seeds": len(self.seeds),
            "predicted": self.predicted,
            "parts": [part.model_dump() for part in self.parts],
            "actual": {
                "mean": self.actual.mean,
                "interval": None if self.actual.interval is None else list(self.actual.interval),
                "per_seed": self.actual.per_seed,
            },
            "retrained_right": {
                "without": self.retrained_right.without_edits,
                "with": self.retrained_right.with_edits,
            },
            "accuracy": {"without": self.accuracy.without_edits, "with": self.accuracy.with_edits},
            "method": self.method,
            "refined": self.refined,
            "from_step": self.from_step,
            "steps": self.steps,
            "seconds": self.seconds,
        }
