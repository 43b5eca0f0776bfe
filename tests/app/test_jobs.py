"""Background work: order, cancelling, failing, joining; nothing of Streamlit."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from attribution.errors import ProjectError
from attribution.progress import Reporter
from dashboard.jobs import KEPT_FINISHED, Job, JobQueue

PATIENCE = 10.0


class Gate:
    """Work that reports, waits until it is let through, and then returns."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()

    def __call__(self, reporter: Reporter) -> str:
        reporter(0.5, "half way")
        self.started.set()
        while not self.go_on.wait(0.01):
            reporter(0.5, "half way")
        return "result"


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue()


def submit(
    queue: JobQueue, work: Callable[[Reporter], object], key: str, lane: str = "cpu", **more: bool
) -> Job:
    return queue.submit(work, key=key, kind="test", title=f"Work {key}", lane=lane, **more)


def test_runs_and_keeps_the_result(queue: JobQueue) -> None:
    job = submit(queue, lambda reporter: 42, "a")
    assert job.wait(PATIENCE)
    assert (job.state, job.result, job.fraction) == ("done", 42, 1.0)
    assert queue.get(job.id) is job


def test_one_lane_runs_one_after_the_other_and_says_who_is_ahead(queue: JobQueue) -> None:
    gate = Gate()
    first = submit(queue, gate, "first")
    assert gate.started.wait(PATIENCE)
    second = submit(queue, lambda reporter: "b", "second")
    third = submit(queue, lambda reporter: "c", "third")
    assert queue.ahead(first) == []
    assert queue.ahead(second) == [first]
    assert queue.ahead(third) == [first, second]
    assert first.message == "half way"
    gate.go_on.set()
    assert third.wait(PATIENCE)
    assert [job.state for job in (first, second, third)] == ["done"] * 3


def test_lanes_do_not_wait_for_each_other(queue: JobQueue) -> None:
    gate = Gate()
    slow = submit(queue, gate, "slow", lane="preparation")
    quick = submit(queue, lambda reporter: 1, "quick", lane="work")
    assert quick.wait(PATIENCE)
    assert not slow.finished
    gate.go_on.set()
    assert slow.wait(PATIENCE)


def test_equal_keys_join(queue: JobQueue) -> None:
    gate = Gate()
    first = submit(queue, gate, "same")
    assert submit(queue, gate, "same") is first
    gate.go_on.set()
    assert first.wait(PATIENCE)
    assert submit(queue, gate, "same") is first, "a finished answer is reused"
    assert submit(queue, gate, "same", afresh=True) is not first


def test_cancelling_the_running_job(queue: JobQueue) -> None:
    gate = Gate()
    job = submit(queue, gate, "a")
    assert gate.started.wait(PATIENCE)
    queue.cancel(job)
    assert job.wait(PATIENCE)
    assert job.state == "cancelled"
    assert job.result is None


def test_cancelling_a_waiting_job_never_starts_it(queue: JobQueue) -> None:
    gate, ran = Gate(), []
    running = submit(queue, gate, "running")
    waiting = submit(queue, ran.append, "waiting")
    queue.cancel(waiting)
    assert waiting.finished
    assert waiting.state == "cancelled"
    gate.go_on.set()
    assert running.wait(PATIENCE)
    assert submit(queue, lambda reporter: 1, "later").wait(PATIENCE)
    assert not ran


def test_a_mendable_error_is_its_sentence(queue: JobQueue) -> None:
    def fail(reporter: Reporter) -> None:
        raise ProjectError("The folder cannot be written: make it writable.")

    job = submit(queue, fail, "a")
    assert job.wait(PATIENCE)
    assert (job.state, job.error) == ("failed", "The folder cannot be written: make it writable.")


def test_an_unexpected_error_is_calm_and_logged(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    job = submit(queue, lambda reporter: 1 / 0, "a")
    assert job.wait(PATIENCE)
    assert job.state == "failed"
    assert "ZeroDivisionError" not in (job.error or "")
    assert "ZeroDivisionError" in caplog.text
    assert submit(queue, lambda reporter: 1, "b").wait(PATIENCE), "the worker goes on"


def test_old_finished_jobs_are_forgotten(queue: JobQueue) -> None:
    first = submit(queue, lambda reporter: 0, "first")
    assert first.wait(PATIENCE)
    for number in range(KEPT_FINISHED + 1):
        assert submit(queue, lambda reporter: 0, f"job {number}").wait(PATIENCE)
    submit(queue, lambda reporter: 0, "last").wait(PATIENCE)
    assert queue.get(first.id) is None
