"""The report of a fix: the numbers of the page, everything inert, one file small enough to mail."""

from __future__ import annotations

import base64
import io
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attribution import Engine
from attribution.projects import FixRecord, Project
from attribution.projects.records import Belief
from dashboard.report import page_of, report_of
from dashboard.report.page import LARGEST
from dashboard.report.pictures import EDGE, LONGEST_TEXT, shown
from dashboard.views.accuracy import percent, points
from dashboard.views.fixes import controls_sentence, steps_sentence, verdict
from tests.command_line import CommandLine

HOSTILE = '<script>alert(1)</script> "quoted" & <img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def engine(prepared_digits: Project) -> Engine:
    return Engine(prepared_digits, device="cpu")


@pytest.fixture(scope="module")
def fix(engine: Engine) -> FixRecord:
    record = engine.fix(engine.project.mispredictions()[-5]["id"], top=4)
    engine.project.history.save(record)
    return record


def words_of(page: str) -> str:
    """The text of a page, without its tags."""
    body = re.sub(r"<(style|head)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


class Elements(HTMLParser):
    """Every tag with its attributes, and whether each is closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "line", "circle", "path", "polyline", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_number_of_the_record_is_on_the_page(engine: Engine, fix: FixRecord) -> None:
    words = words_of(report_of(engine, fix))
    low, high = fix.accuracy_interval
    expected = [
        steps_sentence(fix),
        controls_sentence(fix),
        f"{percent(fix.before.probabilities[fix.true])} → {percent(fix.after.probabilities[fix.true])}",
        percent(fix.accuracy_after),
        f"{points(fix.accuracy_after - fix.accuracy_before)} (95 %: {points(low)} to {points(high)})",
        f"{len(fix.newly_fixed)} fixed, {len(fix.newly_broken)} broken",
        f"Newly fixed ({len(fix.newly_fixed)})",
        f"{fix.seed}, {fix.device}",
        *(verdict(fix, control) for control in fix.controls),
        *(f"{percent(line.before)} {percent(line.after)}" for line in fix.per_class),
        *fix.train_ids,
        *(card["id"] for card in engine.explain(fix.test_id, method=fix.method).culprits(8)),
        *(f"{name} {number}" for name, number in fix.versions.items()),
    ]
    assert fix.versions["python"]
    for piece in expected:
        assert " ".join(piece.split()) in words, piece


def test_the_page_is_well_formed_and_asks_for_nothing(engine: Engine, fix: FixRecord) -> None:
    page = report_of(engine, fix)
    elements = Elements(page)
    assert elements.open == []
    for tag, attributes in elements.seen:
        assert tag not in {"script", "link", "iframe", "object", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#"), "links lead to places on the page only"
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/") and attributes["alt"]
    assert all(
        address.startswith("data:image/png;base64,") for address in re.findall(r"url\(([^)]*)\)", page)
    )
    assert "@import" not in page
    assert len(page.encode()) <= LARGEST


def test_class_names_ids_and_notes_are_text(engine: Engine, fix: FixRecord) -> None:
    chances = {HOSTILE: 0.2, **{name: p for name, p in fix.before.probabilities.items() if name != fix.true}}
    record = fix.model_copy(
        update={
            "true": HOSTILE,
            "before": Belief(predicted=fix.before.predicted, probabilities=chances),
            "after": Belief(predicted=HOSTILE, probabilities=chances),
            "note": HOSTILE,
            "fix_id": HOSTILE,
            "versions": {HOSTILE: HOSTILE},
        }
    )
    page = page_of(engine.project, record, engine.explain(fix.test_id))
    assert not {"script", "img onerror"} & {tag for tag, _ in Elements(page).seen}
    assert "<script" not in page and "<img src=x" not in page
    assert HOSTILE in unescape(page)


def test_without_an_explanation_the_page_says_so(engine: Engine, fix: FixRecord) -> None:
    own = fix.model_copy(update={"measurement": "measure.py:chosen"})
    words = words_of(report_of(engine, own))
    assert "measure.py:chosen" in words and "a report does not run" in words


def test_texts_are_cut_and_escaped() -> None:
    html = shown("text", HOSTILE + "x" * 1000, "Example")
    assert "<script" not in html and html.count("x") < LONGEST_TEXT and "…" in html


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_large_pictures_become_thumbnails(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 4), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, format="PNG")
    html = shown("image", "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), "Example")
    assert len(html) < 40_000
    data = re.findall(r"base64,([^\"]+)", html)[0]
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert max(picture.size) == EDGE


def test_report_from_the_command_line(
    tracefix: CommandLine, prepared_digits: Project, fix: FixRecord, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    arguments = ("report", prepared_digits.directory, fix.fix_id, "--output")
    outcome = tracefix(*arguments, file)
    assert outcome.status == 0, outcome.err
    assert steps_sentence(fix) in words_of(file.read_text(encoding="utf-8"))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "folder that exists" in tracefix.refused(*arguments, tmp_path / "no" / "report.html")
    assert "no fix 'fix-none'" in tracefix.refused(
        "report", prepared_digits.directory, "fix-none", "--output", file
    )


def test_a_suggested_fix_says_why(engine: Engine, fix: FixRecord) -> None:
    hostile = fix.model_copy(update={"suggestion": ["2 of these 4 look mislabelled", HOSTILE]})
    page = report_of(engine, hostile)
    assert "They were suggested, of the sets that were tried" in words_of(page)
    assert "2 of these 4 look mislabelled" in words_of(page) and HOSTILE not in page
    assert "They were suggested" not in words_of(report_of(engine, fix))
