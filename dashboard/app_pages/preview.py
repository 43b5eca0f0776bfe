"""Preview: what a fix does to this prediction, beside its controls, and to everything else. Keep or discard it."""

from __future__ import annotations

from functools import partial

import streamlit as st

from attribution.errors import NotFoundError, TracefixError
from attribution.projects import FixRecord
from dashboard.chart import chart
from dashboard.current import Opened, current_project
from dashboard.downloads import downloads
from dashboard.engines import job_queue
from dashboard.explaining import Question, question_of
from dashboard.fix_panels import comparison, curves_of, fix_outcome, newly_broken, newly_fixed, per_class
from dashboard.guide import guide
from dashboard.heading import page_heading
from dashboard.jobs import Job
from dashboard.messages import escaped, problem, stop_with, way_out
from dashboard.metrics import Metric, metric_row
from dashboard.permission import email, may_change, refusing
from dashboard.stacking import go_on_top
from dashboard.state import forget, go, parameter, recall, set_parameters, unlisted
from dashboard.story import draw_story, story_parameters, story_wanted
from dashboard.suggestion_panel import suggestion
from dashboard.tray import encoded
from dashboard.tray_panel import draw_tray, tray_of
from dashboard.verify_panel import verify_section
from dashboard.views.accuracy import percent, points
from dashboard.views.fixes import (
    accuracy_change,
    controls_sentence,
    harm_sentence,
    significance,
    steps_sentence,
    stop_sentence,
)
from dashboard.views.stacks import beneath_sentence, stack_sentence, undone_sentence
from dashboard.waiting import PATIENCE, clear_places, show_progress, while_running


@refusing
def keep(opened: Opened, fix: FixRecord) -> None:
    """Callback: keep the fix in the history, under the name of who does."""
    opened.project.history.keep(fix.fix_id, by=email())
    st.toast("Kept. It is in History now.", icon=":material/check_circle:")


@refusing
def discard(opened: Opened, fix: FixRecord) -> None:
    """Callback: drop the preview and go back to the examples with the same tray."""
    opened.project.history.delete(fix.fix_id)
    forget("fix")
    question = Question.of_fix(fix)
    go(question.page, question.parameters(opened) | {"tray": encoded(fix.edits)})


def decision(opened: Opened, fix: FixRecord) -> None:
    """Keep and Discard, or what was decided."""
    if fix.state == "kept":
        st.badge("Kept", icon=":material/check_circle:", color="blue")
        way_out("History", "history", {"project": opened.reference}, key="to-history")
        st.button(
            "Fix another on top",
            key="on-top",
            icon=":material/layers:",
            help="What the model with this fix gets wrong, to be fixed from there.",
            on_click=go_on_top,
            args=(opened, fix.fix_id),
        )
        return
    if not may_change():
        st.badge("Not kept", icon=":material/visibility:", color="gray")
        return
    st.button("Discard", key="discard", icon=":material/delete:", on_click=discard, args=(opened, fix))
    st.button("Keep", key="keep", type="primary", icon=":material/check:", on_click=keep, args=(opened, fix))


def draw_fix(opened: Opened, fix: FixRecord) -> None:
    """The whole preview of a fix."""
    st.markdown(f"**{escaped(steps_sentence(fix))}** {escaped(controls_sentence(fix))}")
    suggestion(fix)
    stop = stop_sentence(fix)
    if stop is not None:
        st.info(stop, icon=":material/front_hand:")
    harm = harm_sentence(fix)
    if harm is not None:
        st.warning(harm, icon=":material/trending_down:")
    stacked(opened, fix)
    example_side, proof_side = st.columns([1, 2], gap="large")
    with example_side:
        before_and_after(opened, fix)
    with proof_side:
        st.subheader("Beside its controls", anchor=False)
        comparison(fix)
        chart(
            curves_of(fix, fix.fix_id),
            key="curves",
            alt="Probability of the true and the originally predicted class after each step, for the fix and controls",
        )
    side_effects(opened, fix)
    verify_section(opened, fix)
    st.caption(
        f"Recipe: {fix.strategy}, method {fix.method}, {fix.optimizer}, learning rate {fix.learning_rate:.2g}, "
        f"{fix.replayed or 'no'} training examples replayed, at most "
        f"{fix.max_steps} steps, seed {fix.seed}, on {fix.device}, {fix.seconds:.1f} s"
    )
    if fix.note:
        st.text(f"Note: {fix.note}")


def before_and_after(opened: Opened, fix: FixRecord) -> None:
    """What the model says of the test example; of several, what became of each."""
    several = len(fix.targets) > 1
    st.subheader(
        f"{fix.fixed_count} of {len(fix.targets)} fixed" if several else "Before and after", anchor=False
    )
    fix_outcome(opened, fix, key="pair", caption="What became of each prediction", size=112)


def stacked(opened: Opened, fix: FixRecord) -> None:
    """What a fix on top of others stands on, and what they did together; nothing of any other fix."""
    beneath = beneath_sentence(fix)
    if beneath is None:
        return
    undone = undone_sentence(fix)
    if undone is not None:
        st.warning(escaped(undone), icon=":material/undo:")
    with st.container(border=True, key="stack-of-fix"):
        st.markdown(f":material/layers: {escaped(beneath)}")
        st.markdown(escaped(stack_sentence(fix)))
        way_out(
            "Back to the fix before",
            "preview",
            {"project": opened.reference, "fix": fix.base},
            key="fix-before",
            icon=":material/undo:",
        )


def side_effects(opened: Opened, fix: FixRecord) -> None:
    """What became of all other test examples."""
    st.header("Side effects on the whole test set", anchor=False)
    low, high = fix.accuracy_interval
    tested = f"of {sum(line.count for line in fix.per_class):,} test examples"
    metric_row(
        [
            Metric(
                "Test accuracy",
                percent(fix.accuracy_after),
                f"{points(fix.accuracy_after - fix.accuracy_before)} (95 %: {points(low)} to {points(high)})",
                help=f"It was {percent(fix.accuracy_before)}: {accuracy_change(fix)}, paired over the test examples"
                f"{significance(fix)}.",
            ),
            Metric("Other predictions fixed", f"{len(fix.newly_fixed):,}", tested),
            Metric("Other predictions broken", f"{len(fix.newly_broken):,}", tested),
            *calibration(fix),
        ]
    )
    fixed_side, broken_side, class_side = st.columns(3, gap="medium")
    with fixed_side:
        newly_fixed(opened, fix)
    with broken_side:
        newly_broken(opened, fix)
    with class_side:
        st.subheader("Per class", anchor=False)
        per_class(fix)


def calibration(fix: FixRecord) -> list[Metric]:
    """How far confidence is from accuracy; nothing in a fix from before it was recorded."""
    if fix.calibration_before is None or fix.calibration_after is None:
        return []
    return [
        Metric(
            "Calibration error",
            percent(fix.calibration_after),
            points(fix.calibration_after - fix.calibration_before),
            help=f"Mean distance of confidence from accuracy on the test set, over 15 bins of confidence. It was "
            f"{percent(fix.calibration_before)}.",
        )
    ]


def fix_of_url(opened: Opened) -> FixRecord | None:
    """The fix that the URL names, or that this session looked at last."""
    fix_id = parameter("fix") if parameter("job") else recall("fix")
    if fix_id is None:
        return None
    try:
        return opened.project.history.get(fix_id)
    except NotFoundError as error:
        forget("fix")
        stop_with(
            str(error),
            title="This fix is not here",
            exits=lambda: way_out("History", "history", {"project": opened.reference}, key="exit-fix"),
        )
    except TracefixError as error:
        stop_with(str(error))


def job_of_url(opened: Opened) -> Job | None:
    """The fix that is being made, by the job in the URL; a lost one ends the page with a message."""
    job_id = parameter("job")
    if job_id is None:
        return None
    job = job_queue().get(job_id)
    if job is None or job.subject.get("project") != opened.reference:
        back = {
            name: parameter(name)
            for name in (
                "project",
                "example",
                "examples",
                "method",
                "measurement",
                "ensemble",
                "base",
                "tray",
            )
        }
        stop_with(
            "This preview is no longer running: the server was restarted, or it is from long ago. Suggest & preview "
            "makes it again.",
            title="This preview was lost",
            exits=lambda: (
                way_out(*back_to(back), back, key="exit-job")
                if back["example"] or back["examples"]
                else way_out("Mispredictions", "mispredictions", back, key="exit-job")
            ),
        )
    return job


def back_to(parameters: dict[str, str | None]) -> tuple[str, str]:
    """What a way back is called and where it leads."""
    if parameters.get("examples"):
        return "Back to the examples", "group"
    return "Back to the example", "investigate"


def finished(opened: Opened, job: Job) -> FixRecord | None:
    """The fix a finished job made, now named by the URL; None where it failed or was cancelled."""
    if job.state != "done":
        return None
    fix = opened.project.history.get(str(job.result))
    set_parameters(fix=fix.fix_id, job=None)
    if parameter("tray") is None:
        tray_of(opened, Question.of_fix(fix)).put(fix.edits)
    return fix


def not_finished(opened: Opened, job: Job) -> None:
    """Progress of a fix, or why there is none, with the way back."""
    if not job.finished:
        st.subheader("Fine-tuning a copy of the model, and its controls", anchor=False)
        show_progress(job, "fix")
        return
    if job.state == "done":  # just now: the page has not seen it yet
        st.rerun()
    if job.state == "cancelled":
        st.info("The preview was cancelled: nothing was changed.", icon=":material/cancel:")
    else:
        problem(job.error or "", title="This fix could not be previewed")
    back = question_of_job(opened, job).parameters(opened) | {"tray": parameter("tray")}
    way_out(*back_to(back), back, key="exit-failed")


def question_of_job(opened: Opened, job: Job) -> Question:
    """The question of the examples that a job fixes."""
    first, *others = unlisted(job.subject["examples"])
    return question_of(opened, first, others)[0]


def draw_page(opened: Opened, fix: FixRecord | None, job: Job | None) -> None:
    """The tray, the heading with what can be decided, and the fix or its progress."""
    if fix is not None and parameter("tray") is None and st.session_state.get("tray shown") != fix.fix_id:
        set_parameters(tray=encoded(fix.edits))
        st.session_state["tray shown"] = fix.fix_id
    question = None
    if fix is not None:
        question = Question.of_fix(fix)
    elif job is not None:
        question = question_of_job(opened, job)
    if question is not None and set(question.example_ids) <= set(opened.project.predictions("test").index):
        draw_tray(opened, question, fixable=True)

    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        with st.container(width="content", gap="xxsmall"):
            about = question.subject if question is not None else ""
            page_heading(opened, "Preview", escaped(about))
        with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
            here = {} if question is None else question.parameters(opened)
            way_out(
                *back_to(here),
                here | {"tray": parameter("tray")},
                key="back",
                icon=":material/arrow_back:",
            )
            if fix is not None:
                decision(opened, fix)
            else:
                clear_places(2)  # Keep and Discard of the fix that was shown before
    if fix is not None:
        guide(opened, "preview")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            way_out(
                "Story",
                "preview",
                story_parameters(opened, fix.fix_id),
                key="to-story",
                icon=":material/auto_stories:",
            )
            downloads(opened, fix)
        draw_fix(opened, fix)
    elif job is not None:
        while_running(job, partial(not_finished, opened, job))


opened = current_project()
job = job_of_url(opened)
if job is not None:
    job.wait(PATIENCE)
fix = finished(opened, job) if job is not None else fix_of_url(opened)
if fix is None and job is None:
    page_heading(opened, "Preview")
    st.info(
        "Nothing is previewed yet: choose a misprediction, then Suggest & preview.", icon=":material/science:"
    )
    way_out("Mispredictions", "mispredictions", {"project": opened.reference}, key="exit-no-fix")
elif fix is not None and story_wanted():
    draw_story(opened, fix)
else:
    draw_page(opened, fix, job)
