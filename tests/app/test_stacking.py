"""Fixing on top of a fix: the list, the example and the preview are those of the model with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from attribution import Engine
from attribution.projects import FixRecord, Project
from tests.app.drawn_pages import OpenPage, shown, until_shown


@pytest.fixture
def engine(own_digits: Project) -> Engine:
    return Engine(own_digits, device="cpu")


@pytest.fixture
def base(own_digits: Project, engine: Engine) -> FixRecord:
    """A kept fix that changes other predictions, too."""
    fix = engine.fix(own_digits.mispredictions()[2]["id"], strategy="unlearn", controls=False)
    assert fix.newly_broken or fix.newly_fixed
    own_digits.history.save(fix)
    return fix


def calm(app: AppTest) -> bool:
    return not app.exception and not app.error


def test_from_a_kept_fix_to_one_on_top_and_back(
    own_projects: Path, own_digits: Project, engine: Engine, base: FixRecord, open_page: OpenPage
) -> None:
    app = open_page("preview", project="digits", fix=base.fix_id)
    assert app.button(key="on-top").label == "Fix another on top"

    app = open_page("mispredictions", project="digits", base=base.fix_id)
    data = until_shown(app, "mispredictions")
    assert calm(app)
    table = engine.predictions(base.fix_id)
    wrong = table[table["label"] != table["predicted"]].sort_values("loss", ascending=False, kind="stable")
    assert [row["id"] for row in data["rows"]] == list(wrong.index)[:50]
    assert app.metric[1].value == str(len(wrong))
    assert f"base={base.fix_id}" in data["rows"][0]["href"]
    assert base.test_id in " ".join(block.value for block in app.markdown).replace("\\", "")

    chosen = base.newly_broken[0] if base.newly_broken else str(wrong.index[0])
    app = open_page("investigate", project="digits", example=chosen, base=base.fix_id)
    bars = until_shown(app, "belief")
    names = own_digits.class_names
    assert bars["predicted"] == names[int(table.loc[chosen, "predicted"])] != bars["true"]
    assert not app.button(key="suggest-preview").disabled
    until_shown(app, "influence")
    app.button(key="suggest-preview").click().run()
    app.switch_page("app_pages/preview.py")
    until_shown(app, "comparison")
    assert calm(app)
    made = own_digits.history.get(app.query_params["fix"])
    assert made.base == base.fix_id and made.test_id == chosen
    said = " ".join(block.value for block in app.markdown).replace("\\", "")
    assert "On top of an earlier fix" in said and "Both fixes together" in said
    app.button(key="keep").click().run()
    history = shown(open_page("history", project="digits"), "history")
    assert history is not None
    recipes = {row["id"]: row["cells"]["recipe"] for row in history["rows"]}
    assert f"on top of the fix of test example {base.test_id}" in recipes[made.fix_id]
    assert "on top" not in recipes[base.fix_id]


def test_undo_and_redo_through_the_stack(
    own_projects: Path, own_digits: Project, engine: Engine, base: FixRecord, open_page: OpenPage
) -> None:
    table = engine.predictions(base.fix_id)
    wrong = str(table.index[table["label"] != table["predicted"]][0])
    top = engine.fix(wrong, base=base.fix_id, controls=False)
    own_digits.history.save(top)
    own_digits.history.delete(base.fix_id)  # which must not break what stands on it

    def count(app: AppTest) -> int:
        until_shown(app, "mispredictions")
        assert calm(app)
        return int(app.metric[1].value)

    def errors(fix_id: str | None) -> int:
        predictions = engine.predictions(fix_id)
        return int((predictions["label"] != predictions["predicted"]).sum())

    app = open_page("mispredictions", project="digits", base=top.fix_id)
    assert count(app) == errors(top.fix_id)
    app.button(key="stack-undo").click().run()
    assert count(app) == errors(base.fix_id)
    app.button(key="stack-undo").click().run()
    assert count(app) == errors(None)
    assert "stack-undo" not in [button.key for button in app.button]
    app.button(key="stack-redo").click().run()
    assert count(app) == errors(base.fix_id)
    app.button(key="stack-redo").click().run()
    assert count(app) == errors(top.fix_id)
    assert "stack-redo" not in [button.key for button in app.button]
    app.button(key="stack-leave").click().run()
    assert count(app) == errors(None)


@pytest.mark.parametrize("page", ["mispredictions", "investigate", "compare"])
def test_a_base_that_is_not_there_is_said(
    page: str, projects: Path, prepared_digits: Project, open_page: OpenPage
) -> None:
    example = prepared_digits.mispredictions()[0]["id"]
    app = open_page(page, project="digits", example=example, base="fix-none")
    assert not app.exception
    assert "There is no fix 'fix-none'" in app.error[0].value.replace("\\", "")
    assert app.button(key="exit-base").label == "Mispredictions of the original model"
