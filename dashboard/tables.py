"""What pages read from a project on every run; tables are computed once per preparation, for all sessions."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from attribution.error_clusters import ErrorCluster, error_clusters
from attribution.progress import Reporter
from dashboard.current import Opened
from dashboard.engines import READING_LANE, job_queue
from dashboard.jobs import Job
from dashboard.stacking import predictions_of
from dashboard.views.mispredictions import confusion_counts, misprediction_table

CLUSTER_PATIENCE = 60.0
"""Seconds that a page waits at most for the clusters that its link names."""

CLUSTERED_AT_ONCE = 500
"""Mispredictions up to which their clusters are found while a page is drawn; thousands take seconds."""


def mispredictions_of(opened: Opened, base: str | None = None) -> pd.DataFrame:
    """`views.mispredictions.misprediction_table`, not to be changed in place; with the fix ``base``, where given."""
    return _mispredictions((*opened.key, base), opened, predictions_of(opened, base))


def confusion_of(opened: Opened, base: str | None = None) -> tuple[list[str], list[list[int]]]:
    """`views.mispredictions.confusion_counts`, not to be changed in place; with the fix ``base``, where given."""
    return _confusion((*opened.key, base), opened, predictions_of(opened, base))


def texts_of(opened: Opened) -> pd.Series | None:
    """Texts of the test examples by id; None where examples are no texts."""
    examples = opened.project.examples("test")
    return examples["text"] if "text" in examples.columns and opened.project.kind == "text" else None


def clusters_of(opened: Opened) -> dict[str, ErrorCluster]:
    """`error_clusters.error_clusters` by the id of each one's first member, not to be changed in place.

    Waits for them where `clusters_job` is finding them.
    """
    job = clusters_job(opened)
    if job is None:
        return _clusters(opened.key, opened)
    job.wait(CLUSTER_PATIENCE)
    found: dict[str, ErrorCluster] = job.result or {}
    return found


def clusters_job(opened: Opened) -> Job | None:
    """The background job that finds the clusters of many mispredictions; None where they are found at once."""
    if len(mispredictions_of(opened)) <= CLUSTERED_AT_ONCE:
        return None

    def work(reporter: Reporter) -> dict[str, ErrorCluster]:
        reporter(0.0, "Looking for errors of a common cause")
        return _by_first_member(opened)

    return job_queue().submit(
        work,
        key=("clusters", opened.key),
        kind="clusters",
        title=f"Looking for errors of a common cause in {opened.project.title}",
        lane=READING_LANE,
    )


def members_of(opened: Opened, cluster: str | None) -> list[str] | None:
    """Test ids of a cluster; None, which stands for any, where there is no such cluster."""
    found = None if cluster is None else clusters_of(opened).get(cluster)
    return None if found is None else found.test_ids


def probabilities_of(opened: Opened, example_id: str, base: str | None = None) -> dict[str, float]:
    """The probability of each class for a test example, of the original model or with the fix ``base``."""
    row = predictions_of(opened, base).loc[example_id]
    return {name: float(row[f"p_{number}"]) for number, name in enumerate(opened.project.class_names)}


def test_example(opened: Opened, example_id: str, base: str | None = None) -> dict[str, Any]:
    """A test example as `Project.example` describes it, predicted by the original model or with the fix ``base``."""
    example = opened.project.example("test", example_id)
    if base is None:
        return example
    row = predictions_of(opened, base).loc[example_id]
    return example | {
        "predicted": opened.project.class_names[int(row["predicted"])],
        "confidence": float(row["confidence"]),
        "loss": float(row["loss"]),
    }


# `cache_resource` rather than `cache_data`: a copy per run of a large table would cost more than making it.
@st.cache_resource(max_entries=8, show_spinner=False)
def _mispredictions(key: tuple[str | None, ...], _opened: Opened, _predictions: pd.DataFrame) -> pd.DataFrame:
    del key
    return misprediction_table(_opened.project, _predictions)


@st.cache_resource(max_entries=8, show_spinner=False)
def _confusion(
    key: tuple[str | None, ...], _opened: Opened, _predictions: pd.DataFrame
) -> tuple[list[str], list[list[int]]]:
    del key
    return confusion_counts(_opened.project, _predictions)


@st.cache_resource(max_entries=8, show_spinner=False)
def _clusters(key: tuple[str, str], _opened: Opened) -> dict[str, ErrorCluster]:
    del key
    return _by_first_member(_opened)


def _by_first_member(opened: Opened) -> dict[str, ErrorCluster]:
    return {cluster.test_ids[0]: cluster for cluster in error_clusters(opened.project)}
