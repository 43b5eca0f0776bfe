"""Work in the background: one worker per lane, a plain `Job` per piece of work, nothing of Streamlit.

Threads touch only their `Job`; pages read it. Jobs live in memory and die with the server, finished previews are in
the project's history. Asking twice for the same work joins the job that is already there, so a browser refresh or a
second tab never starts it again.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

from attribution.errors import Cancelled, TracefixError
from attribution.progress import CancelToken, Reporter
from attribution.projects.access import check_may_change, decided, refusal

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Work = Callable[[Reporter], Any]

KEPT_FINISHED = 128
"""Finished jobs that stay known; older ones are forgotten with their results."""

log = logging.getLogger("tracefix.jobs")


@dataclass
class Interim:
    """What a job has to show before it is finished; its work fills it in."""

    result: Any = None


@dataclass
class Job:
    """One piece of work and how far it is.

    Args:
        id: short random text, safe in a URL.
        kind: "prepare", "load", "explain", "look", "why", "fix", "verify", "report", "export" or "story".
        title: what it does, in words, for people who wait behind it.
        key: equal keys mean equal work.
        lane: jobs of one lane run one after the other.
        subject: ids a page needs to link back (project, example).
        interim: a first result, where the work has one before it is done.
        refusal: why the work may change nothing, as was decided when it was asked for; None where it may.
    """

    id: str
    kind: str
    title: str
    key: Hashable
    lane: str
    subject: dict[str, str] = field(default_factory=dict)
    interim: Interim = field(default_factory=Interim)
    refusal: str | None = None
    state: JobState = "queued"
    fraction: float = 0.0
    message: str = "Waiting to start"
    result: Any = None
    error: str | None = None
    token: CancelToken = field(default_factory=CancelToken, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def finished(self) -> bool:
        """Done, failed or cancelled: nothing will change any more."""
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until the job is finished, at most so long; True if it is."""
        return self._over.wait(seconds)

    def _run(self, work: Work) -> None:
        self.state, self.message = "running", "Starting"
        try:
            self.token.check()
            with decided(self.refusal):
                self.result = work(Reporter(self._progress, self.token))
            self.fraction, self.state = 1.0, "done"
        except Cancelled:
            self._cancelled()
        except TracefixError as error:
            self.state, self.error = "failed", str(error)
        except MemoryError:
            self.state, self.error = (
                "failed",
                "Memory ran out: close other programs, or use a smaller project.",
            )
        except Exception:
            log.exception("%s failed", self.title)
            self.state = "failed"
            self.error = (
                "Something unexpected went wrong; the server's log has the details. Trying again may help."
            )
        finally:
            self._over.set()

    def _cancelled(self) -> None:
        self.state, self.error = "cancelled", "Cancelled: nothing was changed."

    def _progress(self, fraction: float, message: str) -> None:
        self.fraction, self.message = fraction, message


class JobQueue:
    """All jobs of the server. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: dict[str, deque[tuple[Job, Work]]] = {}
        self._running: dict[str, Job] = {}

    def submit(
        self,
        work: Work,
        *,
        key: Hashable,
        kind: str,
        title: str,
        lane: str,
        subject: dict[str, str] | None = None,
        interim: Interim | None = None,
        afresh: bool = False,
    ) -> Job:
        """Queue the work, or return the job of the same key that is waiting, running or finished.

        The work may change what whoever asks for it may change. Who may change things does not join the work of
        somebody who may not: it could have been refused.

        Args:
            interim: what the work fills in before it is done.
            afresh: a finished job of the same key is not good enough.
        """
        refused = refusal()
        with self._lock:
            for job in reversed(self._jobs.values()):
                joinable = job.refusal is None or refused is not None
                if job.key == key and joinable and not (afresh and job.finished):
                    return job
            job = Job(
                uuid.uuid4().hex[:10], kind, title, key, lane, subject or {}, interim or Interim(), refused
            )
            self._jobs[job.id] = job
            self._waiting.setdefault(lane, deque()).append((job, work))
            if lane not in self._running:
                self._start_worker(lane)
            self._forget_old()
            return job

    def get(self, job_id: str) -> Job | None:
        """The job of this id; None if it is forgotten or from before the server was started."""
        with self._lock:
            return self._jobs.get(job_id)

    def ahead(self, job: Job) -> list[Job]:
        """The jobs that run before this one, the running one first; empty once it has started."""
        with self._lock:
            if job.state != "queued":
                return []
            running = self._running.get(job.lane)
            waiting = [other for other, _ in self._waiting.get(job.lane, ())]
            before = waiting[: waiting.index(job)] if job in waiting else []
            return ([running] if running is not None else []) + before

    def active(self, kind: str, **subject: str) -> Job | None:
        """The unfinished job of this kind about this subject, if there is one."""
        with self._lock:
            for job in self._jobs.values():
                if job.kind == kind and not job.finished and subject.items() <= job.subject.items():
                    return job
        return None

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; one that has not started is over at once.

        Raises:
            ReadOnlyError: the job is of somebody who may change things, and whoever asks may not.
        """
        if job.refusal is None:
            check_may_change("cancel this")
        job.token.cancel()
        with self._lock:
            waiting = self._waiting.get(job.lane, deque())
            for entry in waiting:
                if entry[0] is job:
                    waiting.remove(entry)
                    job._cancelled()
                    job._over.set()
                    break

    def _start_worker(self, lane: str) -> None:
        """Start the lane's thread with its next job; called with the lock held."""
        job, work = self._waiting[lane].popleft()
        self._running[lane] = job
        threading.Thread(
            target=self._work, args=(lane, job, work), name=f"tracefix-{lane}", daemon=True
        ).start()

    def _work(self, lane: str, job: Job, work: Work) -> None:
        while True:
            job._run(work)
            with self._lock:
                if not self._waiting[lane]:
                    del self._running[lane]
                    return
                job, work = self._waiting[lane].popleft()
                self._running[lane] = job

    def _forget_old(self) -> None:
        finished = [job_id for job_id, job in self._jobs.items() if job.finished]
        for job_id in finished[:-KEPT_FINISHED]:
            del self._jobs[job_id]
