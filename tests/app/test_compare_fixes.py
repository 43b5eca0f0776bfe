"""Two fixes side by side: chosen in the history, or named by a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution import Engine
from attribution.projects import FixRecord, Project
from tests.app.drawn_pages import OpenPage, shown


@pytest.fixture
def pair(own_digits: Project) -> tuple[FixRecord, FixRecord]:
    """Kept fixes of two test examples."""
    engine, found = Engine(own_digits, device="cpu"), []
    for wrong, strategy in zip(own_digits.mispredictions()[2:4], ("helpers", "relabel"), strict=True):
        found.append(engine.fix(wrong["id"], strategy=strategy, top=5))
        own_digits.history.save(found[-1])
    return found[0], found[1]


def test_two_fixes_are_chosen_in_the_history_and_compared(
    own_projects: Path, pair: tuple[FixRecord, FixRecord], open_page: OpenPage
) -> None:
    app = open_page("history", project="digits")
    data = shown(app, "history")
    assert data is not None
    assert data["rows"][0]["cells"]["actions"][0]["label"] == "Compare"
    app.session_state["fix to compare with another"] = ("digits", pair[0].fix_id)
    app.run()
    data = shown(app, "history")
    assert data is not None
    labels = {row["id"]: row["cells"]["actions"][0]["label"] for row in data["rows"]}
    assert labels == {pair[0].fix_id: "Chosen", pair[1].fix_id: "Compare with it"}
    app.button(key="cancel-compare").click().run()
    assert "cancel-compare" not in [button.key for button in app.button]


def test_the_page_shows_both_and_where_they_differ(
    own_projects: Path, pair: tuple[FixRecord, FixRecord], open_page: OpenPage
) -> None:
    first, second = pair
    app = open_page("compare_fixes", project="digits", fixes=f"{first.fix_id},{second.fix_id}")
    assert not app.exception and not app.error
    assert "different test examples" in app.info[0].value
    lines = shown(app, "facts")
    assert lines is not None
    cells = {row["id"]: (row["cells"]["A"], row["cells"]["B"]) for row in lines["rows"]}
    assert cells["Made for"] == (first.test_id, second.test_id)
    assert cells["Other predictions broken"] == (str(len(first.newly_broken)), str(len(second.newly_broken)))
    listed = 0
    for name in ("In both", "Only in A", "Only in B"):
        examples = shown(app, f"examples-{name}")
        listed += len(examples["rows"]) if examples is not None else 0
    assert listed == len(set(first.train_ids) | set(second.train_ids))
    for fix, other, letter in ((first, second, "A"), (second, first, "B")):
        alone = shown(app, f"side-broken by {letter.lower()} only")
        found = [] if alone is None else [row["id"] for row in alone["rows"]]
        assert found == [x for x in fix.newly_broken if x not in other.newly_broken][:50]
    swapped = open_page("compare_fixes", project="digits", fixes=f"{second.fix_id},{first.fix_id}")
    lines = shown(swapped, "facts")
    assert lines is not None and lines["rows"][0]["cells"]["A"] == second.test_id


@pytest.mark.parametrize("fixes", [None, "", "fix-1", "fix-1,fix-1", "fix-1,fix-2", "a,b,c"])
def test_a_link_without_two_fixes_says_what_to_do(
    fixes: str | None, projects: Path, open_page: OpenPage
) -> None:
    app = open_page("compare_fixes", project="digits", **({} if fixes is None else {"fixes": fixes}))
    assert not app.exception
    said = " ".join(message.value for message in [*app.info, *app.error])
    assert "on two fixes in the history" in said or "There is no fix" in said
    assert app.button(key="exit-fixes").label == "History"
