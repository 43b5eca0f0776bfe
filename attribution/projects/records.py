"""What is remembered of a fix: the recipe (enough to replay it) and the result. Light: no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Action = Literal["upweight", "relabel", "remove"]


class Edit(BaseModel):
    """What to do with one training example.

    ``upweight`` trains on it as it is labelled, ``relabel`` trains on it with ``label`` (a class name),
    ``remove`` takes it out: left out of continued training, or unlearned, as the fix's strategy says.
    """

    train_id: str
    action: Action
    label: str | None = None


class Belief(BaseModel):
    """What the model says about the test example: the class name and the probability of every class."""

    predicted: str
    probabilities: dict[str, float]


class CurvePoint(BaseModel):
    """Probabilities of two classes after ``step`` fine-tuning steps (step 0 is the model as it was)."""

    step: int
    true: float
    predicted_before: float


class ClassAccuracy(BaseModel):
    """Accuracy on the test examples of one class, before and after."""

    class_name: str = Field(alias="class")
    before: float
    after: float
    count: int

    model_config = {"populate_by_name": True}


class TargetRecord(BaseModel):
    """One of the test examples that a fix is to correct, and what came of it."""

    test_id: str
    true: str
    before: Belief
    after: Belief
    fixed: bool


class ControlRecord(BaseModel):
    """The same steps with other training examples: what shows whether the chosen ones matter."""

    name: str
    title: str
    train_ids: list[str]
    fixed: bool
    """All targets."""
    fixed_count: int | None = None
    """How many of the targets; None in histories from before several could be fixed at once."""
    steps: int
    accuracy_after: float
    newly_fixed: int
    newly_broken: int
    probability_per_step: list[CurvePoint]


class StackRecord(BaseModel):
    """What a fix and all those beneath it did together, against the original model.

    Test ids; those that the fixes were made for are among them.
    """

    beneath: list[str]
    """Ids of the fixes beneath, the first one first."""
    targets: list[str]
    """Test examples that fixes of the stack were made for, each once."""
    wrong: list[str]
    """Those of them that are predicted wrong with the whole stack."""
    accuracy_original: float
    accuracy_interval: tuple[float, float]
    """95 % interval of the paired difference of the accuracy with the stack and the original one."""
    mcnemar_p: float
    fixed: list[str]
    """Wrong in the original model, right with the stack."""
    broken: list[str]
    """Right in the original model, wrong with the stack."""
    broken_as: dict[str, str]


class FixRecord(BaseModel):
    """One fix: edits, recipe, result and controls. Probabilities and accuracies are fractions in [0, 1].

    A fix has one or several ``targets``. ``test_id``, ``true``, ``before`` and ``after`` are those of the first one,
    ``fixed`` is said of all of them, and ``probability_per_step`` are means over them.

    A fix may stand on an earlier one, its ``base``: all that is said of before, the side effects and the controls is
    then against the model with the base, and ``stack`` says what they did together.
    """

    fix_id: str
    created: str
    project: str
    test_id: str
    true: str
    targets: list[TargetRecord] = Field(default_factory=list)
    """Empty in histories from before several could be fixed at once: ``test_id`` is then the only one."""
    strategy: str
    method: str
    measurement: str
    edits: list[Edit]
    train_ids: list[str]
    seed: int
    device: str
    learning_rate: float
    optimizer: str = "sgd"
    replayed: int = 0
    """Random training examples whose loss was added to that of the chosen ones."""
    max_steps: int
    guard: int | None = None
    """How many other test predictions the fix was allowed to break at most; None for no limit."""
    stopped: Literal["reached", "steps", "guard", "cap", "best", "stalled"] | None = None
    """Why there was no further step: fixed and stayed so, no steps left, the next one would have broken more than the
    guard allows, what was unlearned is at the loss of a uniform guess, further steps fixed no more of several targets
    and were taken back, or it came nearer too slowly for the steps left. None in older histories."""
    ends_early: bool = False
    """Whether runs of steps ended where their pace would not do. Not so in older histories, which are replayed so."""
    before: Belief
    after: Belief
    fixed: bool
    steps: int
    seconds: float
    probability_per_step: list[CurvePoint]
    accuracy_before: float
    accuracy_after: float
    accuracy_interval: tuple[float, float]
    """95 % interval of the paired difference accuracy_after - accuracy_before."""
    mcnemar_p: float | None = None
    """Exact two-sided p-value of no change in accuracy (McNemar); None in older histories, like the next two."""
    calibration_before: float | None = None
    """Expected calibration error of the test set, 15 bins."""
    calibration_after: float | None = None
    per_class: list[ClassAccuracy]
    newly_fixed: list[str]
    newly_broken: list[str]
    newly_broken_as: dict[str, str] = Field(default_factory=dict)
    """What the newly broken are predicted as now, by id; empty in histories from before it was recorded."""
    newly_fixed_from: dict[str, str] = Field(default_factory=dict)
    """What the newly fixed were predicted as before, by id; empty where that was by the original model."""
    controls: list[ControlRecord]
    suggestion: list[str] = Field(default_factory=list)
    """Why these edits were suggested, in sentences; empty where they were chosen otherwise."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Of Tracefix and what it ran on; empty in histories from before they were recorded."""
    note: str = ""
    state: Literal["preview", "kept"] = "preview"
    kept_by: str | None = None
    """E-mail address of who kept it; None where nobody had to log in."""
    base: str | None = None
    """Id of the fix that this one stands on; None where it starts from the original model."""
    stack: StackRecord | None = None

    @property
    def test_ids(self) -> list[str]:
        """Of all targets."""
        return [target.test_id for target in self.targets] or [self.test_id]

    @property
    def fixed_count(self) -> int:
        """How many of the targets were fixed."""
        return sum(target.fixed for target in self.targets) if self.targets else int(self.fixed)

    def contract(self) -> dict[str, Any]:
        """The shape that ``tracefix fix --json`` prints."""
        return {
            "fix_id": self.fix_id,
            "test_id": self.test_id,
            "base": self.base,
            "strategy": self.strategy,
            "method": self.method,
            "train_ids": self.train_ids,
            "edits": [edit.model_dump() for edit in self.edits],
            "before": self.before.model_dump(),
            "after": self.after.model_dump(),
            "targets": [target.model_dump() for target in self.targets],
            "fixed": self.fixed,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer,
            "replayed": self.replayed,
            "guard": self.guard,
            "stopped": self.stopped,
            "seed": self.seed,
            "seconds": self.seconds,
            "accuracy_before": self.accuracy_before,
            "accuracy_after": self.accuracy_after,
            "accuracy_interval": list(self.accuracy_interval),
            "mcnemar_p": self.mcnemar_p,
            "calibration_before": self.calibration_before,
            "calibration_after": self.calibration_after,
            "newly_fixed": self.newly_fixed,
            "newly_broken": self.newly_broken,
            "stack": None if self.stack is None else self.stack.model_dump(mode="json"),
            "suggestion": self.suggestion,
            "controls": [
                {
                    "name": control.name,
                    "fixed": control.fixed,
                    "steps": control.steps,
                    "accuracy_after": control.accuracy_after,
                    "newly_fixed": control.newly_fixed,
                    "newly_broken": control.newly_broken,
                }
                for control in self.controls
            ],
        }
