"""Taking a fix along: its report and its export, made in the background, then downloaded."""

from __future__ import annotations

import tempfile
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from attribution.progress import Reporter
from attribution.projects import FixRecord
from attribution.projects.access import check_may_change
from attribution.projects.files import replacing
from dashboard.current import Opened
from dashboard.engines import WORK_LANE, engine_shelf, job_queue
from dashboard.jobs import Job
from dashboard.permission import may_change, refusing
from dashboard.waiting import PATIENCE, redraw_when, show_progress

if TYPE_CHECKING:
    from attribution.engine import Engine

_STARTED = "downloads asked for"
"""In the session: job id by fix and kind."""

_LABELS = {"report": "Report", "export": "Export"}
_READY = {"report": "Download report", "export": "Download export"}
_ICONS = {"report": ":material/description:", "export": ":material/folder_zip:"}
_HELP = {
    "report": "One HTML page that tells this fix to others: it opens offline and can be mailed.",
    "export": "The edits as a table, the patched model's weights, and the command that makes it again.",
}
_FILES = {"report": ("html", "text/html"), "export": ("zip", "application/zip")}


@st.cache_resource(show_spinner=False)
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where finished files wait to be downloaded: models are too large to keep in memory. Gone with the server."""
    return tempfile.TemporaryDirectory(prefix="tracefix-downloads-")


@refusing
def start_download(opened: Opened, fix_id: str, kind: str) -> None:
    """Callback: have the file made, in the background. A report is for all who may look; an export writes a model."""
    if kind == "export":
        check_may_change("export this fix")
    shelf, folder = engine_shelf(), Path(_folder().name)

    def work(reporter: Reporter) -> Path:
        engine = shelf.get(opened, reporter.share(0.0, 0.2))
        file = folder / f"{uuid.uuid4().hex[:8]}-{fix_id}.{_FILES[kind][0]}"
        (_write_report if kind == "report" else _write_export)(engine, fix_id, file, reporter.share(0.2, 1.0))
        return file

    job = job_queue().submit(
        work,
        key=(kind, opened.key, fix_id, opened.project.history.get(fix_id).note),
        kind=kind,
        title=f"The {kind} of {fix_id}",
        lane=WORK_LANE,
        subject={"project": opened.reference, "fix": fix_id},
    )
    if job.state in ("failed", "cancelled"):  # asked for again: perhaps it works now
        job = job_queue().submit(
            work, key=job.key, kind=kind, title=job.title, lane=WORK_LANE, subject=job.subject, afresh=True
        )
    st.session_state.setdefault(_STARTED, {})[fix_id, kind] = job.id


def downloads(opened: Opened, fix: FixRecord, *, kinds: Sequence[str] = tuple(_LABELS)) -> None:
    """Buttons, Report and Export (or those of ``kinds``); each becomes a download when its file is made."""
    unfinished = []
    with st.container(
        horizontal=True, vertical_alignment="center", gap="small", width="content", key="downloads"
    ):
        for kind in (kind for kind in kinds if kind == "report" or may_change()):
            job = _job(fix, kind)
            if job is not None:
                job.wait(PATIENCE)
            if job is not None and job.state == "done":
                _ready(fix, kind, job.result)
                continue
            st.button(
                _LABELS[kind],
                key=f"make-{kind}",
                icon=_ICONS[kind],
                help=_HELP[kind],
                on_click=start_download,
                args=(opened, fix.fix_id, kind),
                disabled=job is not None and not job.finished,
            )
            if job is not None:
                unfinished.append((kind, job))
    for kind, job in unfinished:
        show_progress(job, kind)
        if not job.finished:
            redraw_when(lambda job=job: job.finished)  # type: ignore[misc]


def _job(fix: FixRecord, kind: str) -> Job | None:
    job_id = st.session_state.get(_STARTED, {}).get((fix.fix_id, kind))
    return None if job_id is None else job_queue().get(job_id)


def _ready(fix: FixRecord, kind: str, file: Path) -> None:
    ending, media_type = _FILES[kind]
    st.download_button(
        f"{_READY[kind]} ({_size(file.stat().st_size)})",
        lambda: file.open("rb"),
        file_name=f"{fix.fix_id}.{ending}",
        mime=media_type,
        key=f"download-{kind}",
        icon=":material/download:",
        on_click="ignore",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(count / 1e3, 1):.0f} kB"


def _write_report(engine: Engine, fix_id: str, file: Path, reporter: Reporter) -> None:
    from dashboard.report import report_of

    page = report_of(engine, engine.project.history.get(fix_id), reporter=reporter)
    # Beside no project, and for those who may only look, too: nobody asks for it before it is whole.
    file.write_text(page, encoding="utf-8")


def _write_export(engine: Engine, fix_id: str, file: Path, reporter: Reporter) -> None:
    """The folder of `export_fix` as a zip file that unpacks into a folder of the fix's name."""
    from attribution.fixing import EDITS_FILE, export_fix

    with tempfile.TemporaryDirectory(dir=file.parent) as place, replacing(file) as temporary:
        exported = export_fix(
            engine, fix_id, Path(place) / fix_id, edits_file=Path(EDITS_FILE), reporter=reporter
        )
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name in exported.files:
                archive.write(exported.directory / name, f"{fix_id}/{name}")
