"""What the model looked at comes to the page by itself, goes away when asked to, and never before the culprits."""

from __future__ import annotations

import io
import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from attribution import Engine, Saliency
from attribution.projects import Project
from dashboard.current import Opened, stamp_of
from dashboard.engines import job_queue
from dashboard.explaining import Question
from dashboard.jobs import Interim, Job
from dashboard.looking import SWITCH, _let_pass, look_at_example
from dashboard.views.saliency import looked_at
from dashboard.waiting import start_anew
from tests.app.drawn_pages import PATIENCE, OpenPage, shown, until_shown


def until_looked(app: AppTest) -> dict[str, Any]:
    """Draw the page again until it shows what the model looked at."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        data = shown(app, "belief")
        if data is not None and data["looked"] and data["looked"]["kind"] != "waiting":
            looked: dict[str, Any] = data["looked"]
            return looked
        app.run()
    raise AssertionError("nothing was looked at")


def opacity(mask: str) -> np.ndarray:
    with Image.open(io.BytesIO(b64decode(mask.split(",")[1]))) as image:
        return np.asarray(image.getchannel("A"))


@pytest.mark.parametrize("measurement", ["margin", "logit:3"])
def test_investigate_shows_what_the_engine_says(
    measurement: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]
    app = open_page("investigate", project="digits", example=example["id"], measurement=measurement)
    looked = until_looked(app)
    assert not app.exception and not app.error
    found = Engine(prepared_digits).saliency(example["id"], measurement=measurement)
    assert looked == looked_at(found, "", example)
    assert looked["kind"] == "pixels"
    up, down = opacity(looked["up_mask"]), opacity(looked["down_mask"])
    assert up.shape == (8, 8)
    assert (found.parts[up > 0] > 0).all() and (found.parts[down > 0] < 0).all()
    assert np.unravel_index(up.argmax(), up.shape) == np.unravel_index(found.parts.argmax(), up.shape)
    words = {"margin": f"towards “{example['predicted']}”, the wrong class", "logit:3": "towards “3”"}
    assert looked["up"] == words[measurement]


def test_switched_off_it_is_neither_drawn_nor_computed(
    projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    first, second = prepared_digits.mispredictions()[3:5]
    app = open_page("investigate", project="digits", example=first["id"])
    until_looked(app)
    app.toggle(key=SWITCH).set_value(False).run()
    data = shown(app, "belief")
    assert data is not None and data["looked"] is None and data["input"] == first["input"]
    app.query_params["example"] = second["id"]
    until_shown(app.run(), "influence")
    data = shown(app, "belief")
    assert data is not None and data["looked"] is None
    looks = [job for job in job_queue()._jobs.values() if job.kind == "look"]
    assert not any(job.subject["example"] == second["id"] for job in looks)


def test_culprits_go_first() -> None:
    """Until there is something of the explanation to show, or for a while if that is slow."""
    from attribution.progress import Reporter

    slow = Job("one", "explain", "", "key", "lane", interim=Interim())
    started = time.monotonic()

    def shown_at_last(fraction: float, message: str) -> None:
        if time.monotonic() - started > 0.2:
            slow.interim.result = "culprits"

    _let_pass(slow, Reporter(shown_at_last))
    assert 0.2 <= time.monotonic() - started < 4.0


def test_what_was_left_is_not_looked_at_any_more(
    projects: Path, prepared_digits: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick steps from one example to the next: only the last one counts, and an earlier one can be asked again."""
    import streamlit as st

    monkeypatch.setattr(st, "session_state", {})
    start_anew()
    stamp = stamp_of(prepared_digits.directory)
    assert stamp is not None
    opened = Opened("digits", prepared_digits, stamp + "-left")
    first, second = prepared_digits.mispredictions()[5:7]
    blocked = Job("never", "explain", "", "key", "lane")  # keeps the first one from starting
    questions = [Question(example["id"], "ekfac", "margin") for example in (first, second)]

    def jobs_of(question: Question) -> list[Job]:
        known = [job for job in job_queue()._jobs.values() if job.kind == "look"]
        return [job for job in known if job.key[1] == (question.measured(opened), None)]  # type: ignore[index]

    assert look_at_example(opened, questions[0], first, blocked)["kind"] == "waiting"
    look_at_example(
        opened, questions[1], second, Job("none", "explain", "", "key", "lane", interim=Interim("early"))
    )
    (left,) = jobs_of(questions[0])
    assert left.wait(PATIENCE) and left.state == "cancelled"
    (last,) = jobs_of(questions[1])
    assert last.wait(PATIENCE) and last.state == "done"
    look_at_example(
        opened, questions[0], first, Job("none", "explain", "", "key", "lane", interim=Interim("early"))
    )
    again = jobs_of(questions[0])[-1]
    assert again is not left and again.wait(PATIENCE) and again.state == "done"


def words_of(text: str, parts: list[float], seen: int | None = None) -> Saliency:
    """What a model looked at in a text without punctuation."""
    spans, place = [], 0
    for word in text[:seen].split():
        start = text.index(word, place)
        spans.append((start, start + len(word)))
        place = start + len(word)
    return Saliency(
        "test",
        "0",
        "margin",
        "",
        "words",
        np.array(parts),
        2.0,
        -1.0,
        "nothing",
        0.0,
        16,
        0.1,
        tuple(spans),
        seen,
    )


def test_a_text_is_cut_at_its_words_and_stays_as_it_is() -> None:
    text = "  <b>not</b> a *good* film, cut off here"
    example = {"true": "bad", "predicted": "good, really"}
    drawn = looked_at(words_of(text, [-1.0, 0.0, 4.0, 0.5], seen=text.index(" cut")), text, example)
    assert "".join(piece["text"] for piece in drawn["pieces"]) + drawn["unseen"] == text
    marked = {piece["text"]: piece["strength"] for piece in drawn["pieces"] if "strength" in piece}
    assert marked == {"<b>not</b>": -0.25, "a": 0.0, "*good*": 1.0, "film,": 0.125}
    assert drawn["unseen"] == " cut off here"
    assert drawn["up_brief"] == "towards “good, really”"
    assert "*good* +4.00, film, +0.500." in drawn["summary"] and "<b>not</b> −1.00." in drawn["summary"]


def test_a_poor_integral_is_said() -> None:
    found = words_of("a b", [1.0, 1.0])
    assert "care" not in looked_at(found, "a b", {"true": "x", "predicted": "y"})["note"]
    from dataclasses import replace

    said = looked_at(replace(found, error=-0.3), "a b", {"true": "x", "predicted": "y"})["note"]
    assert "miss 30%" in said


def test_a_mask_has_the_proportions_of_the_picture() -> None:
    """The model reads a wide picture squeezed to a square."""
    parts = np.zeros((8, 8))
    parts[0, 0], parts[7, 7] = 3.0, -3.0
    found = Saliency(
        "test", "0", "loss", "", "pixels", parts, 1.0, 0.0, "it", 0.0, 16, 0.1, picture=(60, 120)
    )
    drawn = looked_at(found, "", {"true": "x", "predicted": "y"})
    up, down = opacity(drawn["up_mask"]), opacity(drawn["down_mask"])
    assert up.shape == down.shape == (8, 16)
    assert up[0, 0] == up.max() > 0 and down[7, 15] == down.max() > 0
    assert "top left +3.00" in drawn["summary"] and "bottom right −3.00" in drawn["summary"]


def test_what_the_model_does_not_read_stays_clear() -> None:
    """Of a picture twice as wide as high, the model reads the square in the middle."""
    found = Saliency(
        "test",
        "0",
        "loss",
        "",
        "pixels",
        np.ones((8, 8)),
        1.0,
        0.0,
        "it",
        0.0,
        16,
        0.1,
        picture=(60, 120),
        frame=(0.0, 0.25, 1.0, 0.75),
    )
    drawn = looked_at(found, "", {"true": "x", "predicted": "y"})
    up = opacity(drawn["up_mask"])
    assert up.shape == (8, 16)
    assert (up[:, 4:12] > 0).all() and not up[:, :4].any() and not up[:, 12:].any()
    assert "reads the middle" in drawn["note"]
