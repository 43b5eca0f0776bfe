"""Agreement with traker 0.3.2, the reference implementation of TRAK, at the same projection.

    TRACEFIX_PEERS_PYTHON=/path/to/python python tests/benchmarks/against_traker.py

The other Python needs traker and what Tracefix needs. On the `digits` and the `fashion` sample both sides explain the
log-odds of the true class of test examples that are predicted right, with one and the same projection matrix: traker
takes its gradients by torch.func and is handed our sketch as its projector. Scores are compared query by query.
Writes docs/against_traker.json.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peers.process import run

if TYPE_CHECKING:
    import torch

    from attribution import Engine

OUTPUT = Path(__file__).resolve().parents[2] / "docs" / "against_traker.json"
SAMPLES = ("digits", "fashion")
QUERIES, BATCH_SIZE = 40, 128


def measured() -> dict[str, Any]:
    """Agreement by sample; runs where traker is."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    return {sample: agreement(sample) for sample in SAMPLES}


def agreement(sample: str) -> dict[str, Any]:
    """Correlations of our scores with traker's, over the training examples, for each query."""
    import numpy as np

    from attribution import Engine, Project, prepare
    from attribution.trust import spearman
    from sample_models import SAMPLES

    with tempfile.TemporaryDirectory() as folder:
        SAMPLES[sample].create(Path(folder) / sample)
        project = Project.open(Path(folder) / sample)
        prepare(project, methods=["grad_dot"], device="cpu")
        engine = Engine(Project.open(project.directory), device="cpu")
        predictions = project.predictions("test").reset_index()
        right = predictions[predictions["label"] == predictions["predicted"]].head(QUERIES)
        # The margin of a right prediction is minus the log-odds of its class.
        ours = -engine.scores(right["id"].tolist(), method="trak")
        theirs, width = scores_of_traker(engine, right.index.tolist(), folder)
    pearson = [float(np.corrcoef(*pair)[0, 1]) for pair in zip(ours, theirs, strict=True)]
    ranks = [spearman(*map(_tensor, pair)) for pair in zip(ours, theirs, strict=True)]
    return {
        "training_examples": ours.shape[1],
        "queries": len(ours),
        "dimensions": width,
        "pearson": float(np.mean(pearson)),
        "least_pearson": min(pearson),
        "spearman": float(np.mean(ranks)),
    }


def _tensor(array: Any) -> torch.Tensor:
    import torch

    return torch.as_tensor(array)


def scores_of_traker(engine: Engine, tests: list[int], folder: str) -> tuple[Any, int]:
    """traker's scores (queries, N) of the final model, and the number of dimensions of the projection."""
    from peers.models import Logits, pixels
    from trak import TRAKer

    from attribution.batches import batch_of, batches

    task, trajectory = engine.task, engine._loaded.trajectory
    model = Logits(trajectory.model_at(trajectory.final))
    projector = projector_of(engine)
    traker = TRAKer(
        model=model,
        task="image_classification",
        train_set_size=task.size("train"),
        save_dir=f"{folder}/traker",
        device="cpu",
        projector=projector,
        use_half_precision=False,
        logging_level=logging.ERROR,
    )
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    traker.load_checkpoint(state, model_id=0)
    for batch in batches(task, "train", BATCH_SIZE):
        traker.featurize(batch=(pixels(batch.inputs), batch.labels), inds=batch.positions.numpy())
    traker.finalize_features()
    traker.start_scoring_checkpoint(exp_name="queries", checkpoint=state, model_id=0, num_targets=len(tests))
    asked = batch_of(task, "test", tests)
    traker.score(batch=(pixels(asked.inputs), asked.labels), num_samples=len(tests))
    return traker.finalize_scores(exp_name="queries").T, projector.proj_dim


def projector_of(engine: Engine) -> Any:
    """The projection of the method `trak` as one of traker's projectors."""
    from trak.projectors import AbstractProjector

    from attribution.capture import GradientCapture
    from attribution.methods import method_named
    from attribution.methods.trak import Trak
    from attribution.progress import SILENT

    trak, loaded = method_named("trak"), engine._loaded
    assert isinstance(trak, Trak)
    _, sketch = trak._features(loaded, SILENT)
    capture = GradientCapture(engine.task, loaded.trajectory.model_at(loaded.trajectory.final))

    class SameProjection(AbstractProjector):
        def __init__(self) -> None:
            super().__init__(engine.facts.parameters, sketch.width, 0, "count sketch", "cpu")

        def project(self, grads: dict[str, torch.Tensor], model_id: int) -> torch.Tensor:
            named = {name.removeprefix("model."): tensor.detach() for name, tensor in grads.items()}
            return sketch.of(capture.from_parameters(named))

    return SameProjection()


if __name__ == "__main__":
    run(__file__, "traker", measured, OUTPUT, module="trak")
