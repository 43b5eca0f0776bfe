"""The page on which people open their own model: what it finds, what it refuses, and that it loses nothing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from attribution.projects import Project, TransformersSource
from dashboard.function_files import confirmed_functions
from dashboard.locations import PROJECTS_VARIABLE, projects_directory
from tests.app.drawn_pages import PATIENCE, OpenPage, shown
from tests.app.test_bad_input import words
from tests.own_files import CLASSES, OwnFiles, own_files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> OwnFiles:
    """Files not to be changed."""
    return own_files(tmp_path_factory.mktemp("own") / "films")


@pytest.fixture
def own(saved: OwnFiles, tmp_path: Path) -> OwnFiles:
    """A copy of them that a test may change."""
    shutil.copytree(saved.train.parent, tmp_path / "films")
    return OwnFiles(*(tmp_path / "films" / path.name for path in (saved.model, saved.train, saved.test)))


@pytest.fixture(autouse=True)
def empty_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A projects folder of the test's own."""
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path / "projects"))
    return tmp_path / "projects"


def value(app: AppTest, field: str) -> str:
    """What a field of the form has."""
    widget = [*app.text_input, *app.selectbox]
    return str(next(one.value for one in widget if one.key == f"own-{field}"))


def opened(app: AppTest) -> AppTest:
    """The page after its button was clicked and its job is over."""
    app.button(key="own-open").click().run()
    deadline = time.monotonic() + PATIENCE
    while any(button.key == "cancel-own" for button in app.button) and time.monotonic() < deadline:
        app.run()
    return app


def test_a_link_fills_the_form_in_and_the_columns_are_guessed(saved: OwnFiles, open_page: OpenPage) -> None:
    app = open_page("open", **saved.fields)
    assert not app.exception and not app.error
    assert [value(app, field) for field in ("text", "label", "id")] == ["review", "sentiment", "id"]
    preview, labels, checkpoints = (
        shown(app, key) for key in ("own-preview", "own-labels", "own-checkpoint-table")
    )
    assert preview is not None and labels is not None and checkpoints is not None
    assert preview["rows"][0]["cells"] == {"0": "bad film", "1": "negative", "2": "train-0"}
    counts = {row["cells"]["value"]: (row["cells"]["train"], row["cells"]["test"]) for row in labels["rows"]}
    assert counts == dict.fromkeys(CLASSES, (8, 4))
    assert [(row["cells"]["step"], row["cells"]["rate"]) for row in checkpoints["rows"]] == [
        (5, "0.02"),
        (10, "0.01"),
    ]
    project = projects_directory() / "films"
    assert app.code[0].value == (
        f"tracefix new {project} --model {saved.model} --train {saved.train} --test {saved.test} --text review "
        f"--label sentiment --id id\ntracefix prepare {project}"
    )
    assert not app.button(key="own-open").disabled


@pytest.mark.parametrize(
    ("field", "typed", "said", "needed"),
    [
        ("model", "/nowhere/at/all", "'/nowhere/at/all' does not exist on this machine", "a model"),
        ("model", "TRAIN", "is a file", "a model"),
        ("model", "FOLDER", "it has no config.json", "a model"),
        ("train", "/nowhere.csv", "'/nowhere.csv' does not exist on this machine", "a training table"),
        ("test", "CONFIG", "is not a JSON object", "a test table"),
        ("test", "x" * 5000, "does not exist", "a test table"),
        ("checkpoints", "/nowhere/*.pt", "No file or folder matches", "checkpoints that can be used"),
        ("name", "../elsewhere", "neither a plain name nor a whole path", "a name"),
    ],
)
def test_a_bad_field_is_explained_and_nothing_is_lost(
    saved: OwnFiles, open_page: OpenPage, field: str, typed: str, said: str, needed: str
) -> None:
    places = {
        "TRAIN": saved.train,
        "FOLDER": saved.train.parent,
        "CONFIG": saved.model / "checkpoint-5" / "config.json",
    }
    app = open_page("open", **saved.fields)
    app.text_input(key=f"own-{field}").set_value(str(places.get(typed, typed))).run()
    assert not app.exception
    assert len(app.error) == 1 and said in words(app)
    assert app.button(key="own-open").disabled
    assert any(needed in caption.value for caption in app.caption)
    others = {name: path for name, path in saved.fields.items() if name != field}
    assert {name: value(app, name) for name in others} == others
    if field in saved.fields:
        app.text_input(key=f"own-{field}").set_value(saved.fields[field]).run()
        assert not app.error and not app.button(key="own-open").disabled


def test_labels_that_are_no_classes_are_counted(own: OwnFiles, open_page: OpenPage) -> None:
    table = pd.read_csv(own.train)
    table.loc[:4, "sentiment"] = "meh"
    table.to_csv(own.train, index=False)
    app = open_page("open", **own.fields)
    assert "'meh' (5 rows)" in words(app) and "'negative', 'neutral', 'positive'" in words(app)
    assert app.button(key="own-open").disabled
    app.selectbox(key="own-label").set_value("review").run()
    assert "choose two different columns" in words(app)


def test_class_numbers_are_labels_too(own: OwnFiles, open_page: OpenPage) -> None:
    for file in (own.train, own.test):
        table = pd.read_csv(file)
        table["sentiment"] = table["sentiment"].map(CLASSES.index)
        table.to_csv(file, index=False)
    app = open_page("open", **own.fields)
    labels = shown(app, "own-labels")
    assert labels is not None and not app.error
    assert {row["cells"]["value"]: row["cells"]["class"]["text"] for row in labels["rows"]} == {
        str(number): name for number, name in enumerate(CLASSES)
    }


def test_text_of_a_table_stays_text(own: OwnFiles, open_page: OpenPage) -> None:
    table = pd.read_csv(own.train)
    table.loc[0, "review"] = "<script>x</script> :red[a] \u202egood\u0007 " + "very " * 100
    table["*b* $c$"] = "=cmd()"
    table.to_csv(own.train, index=False)
    app = open_page("open", **own.fields)
    preview = shown(app, "own-preview")
    assert preview is not None and not app.exception
    cell = preview["rows"][0]["cells"]["0"]
    assert cell.startswith("<script>x</script> :red[a] \ufffdgood\ufffd very") and len(cell) == 160
    assert preview["columns"][3]["title"] == "*b* $c$"
    assert any(r"\*b\*" in caption.value for caption in app.caption)


def test_pictures_are_shown_small(tmp_path: Path, open_page: OpenPage) -> None:
    model = {"architectures": ["ResNetForImageClassification"], "id2label": {"0": "cat", "1": "dog"}}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(model))
    for name in ("a", "b"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("file,kind\na.png,cat\nb.png,dog\n../../secret.png,dog\n")
    table = str(tmp_path / "t.csv")
    app = open_page("open", model=str(tmp_path / "model"), train=table, test=table)
    preview = shown(app, "own-preview")
    assert preview is not None and not app.error and not app.exception
    first, second, third = [row["cells"]["0"] for row in preview["rows"]]
    assert first.startswith("data:image/png;base64,") and second.startswith("data:image/png;base64,")
    assert third.startswith("outside the table's folder")
    assert "--image file --label kind" in app.code[0].value
    assert any("None found" in caption.value for caption in app.caption), "no checkpoints"


def test_leaving_the_page_and_coming_back_keeps_the_form(saved: OwnFiles, open_page: OpenPage) -> None:
    app = open_page("open", model=str(saved.model))
    app.text_input(key="own-train").set_value(str(saved.train)).run()
    app.switch_page("app_pages/history.py").run()
    app.query_params.clear()
    app.switch_page("app_pages/open.py").run()
    assert (value(app, "model"), value(app, "train")) == (str(saved.model), str(saved.train))
    assert app.query_params["train"] == str(saved.train)


def test_it_opens_on_the_mispredictions(saved: OwnFiles, open_page: OpenPage, empty_projects: Path) -> None:
    app = open_page("open", **saved.fields, name="my-films")
    opened(app)
    assert not app.exception and not app.error
    project = Project.open(empty_projects / "my-films")
    assert project.prepared and isinstance(project.manifest.source, TransformersSource)
    assert project.manifest.source.id_column == "id"
    rows = shown(app, "mispredictions")
    assert rows is not None
    assert [row["id"] for row in rows["rows"]] == [row["id"] for row in project.mispredictions()]
    assert app.query_params["project"] == "my-films"


def test_what_does_not_load_leaves_no_project(
    own: OwnFiles, open_page: OpenPage, empty_projects: Path
) -> None:
    """Only opening finds this out: a row beyond those that the page looks at, say."""
    app = open_page("open", **own.fields)
    (own.model / "checkpoint-10" / "tokenizer.json").unlink()
    opened(app)
    assert [error.value.split(" ")[:3] for error in app.error] == [
        ["What", "is", "wrong"],
        ["The", "tokenizer", "in"],
    ]
    assert {name: value(app, name) for name in own.fields} == own.fields
    assert not (empty_projects / "films").exists()
    app.text_input(key="own-model").set_value(str(own.model / "checkpoint-5")).run()
    assert "The tokenizer in" not in words(app), "another folder has its own faults"


def test_what_cannot_be_prepared_leaves_no_project(
    own: OwnFiles, open_page: OpenPage, empty_projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attribution import preparation
    from attribution.errors import NumericalError

    def fail(self: object) -> None:
        raise NumericalError("The model gives NaN: mend it.")

    monkeypatch.setattr(preparation._Preparation, "run", fail)
    app = opened(open_page("open", **own.fields))
    assert "The model gives NaN" in words(app)
    assert not (empty_projects / "films").exists()


def test_a_projects_folder_that_cannot_be_written_is_said(
    saved: OwnFiles, open_page: OpenPage, empty_projects: Path
) -> None:
    empty_projects.write_text("a file")
    app = open_page("open", **saved.fields)
    assert f"'{empty_projects}' is a file" in words(app)
    assert app.button(key="own-open").disabled


TASK = """
from pathlib import Path
from tests.unit.tiny_models import trained_mlp

Path({mark!r}).write_text("run")


def build():
    return trained_mlp()
"""


def test_a_task_file_runs_only_after_a_click(
    tmp_path: Path, open_page: OpenPage, empty_projects: Path
) -> None:
    mark, file = tmp_path / "mark", tmp_path / "my_task.py"
    file.write_text(TASK.format(mark=str(mark)))
    app = open_page("open", way="task", task=str(file))
    assert "runs the whole file with your rights" in " ".join(text.value for text in app.markdown)
    assert app.code[0].value == f"{file}:build"
    assert f"--task {file}:build" in app.code[1].value
    assert not mark.exists(), "a link alone runs nothing"
    file.write_text(TASK.format(mark=str(mark)) + "# another\n")
    opened(app)
    assert "was changed since" in words(app) and not mark.exists()
    opened(app)
    assert mark.exists() and Project.open(empty_projects / "my_task").prepared
    assert shown(app, "mispredictions") is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [("nowhere.py:build", "There is no file"), ("task.txt", "FILE.py:FUNCTION"), ("x.py:no such", "FILE.py")],
)
def test_a_bad_task_is_explained(open_page: OpenPage, given: str, said: str) -> None:
    app = open_page("open", way="task", task=given)
    assert not app.exception and said in words(app)
    assert app.button(key="own-open").disabled and value(app, "task") == given


def test_a_project_folder_is_opened_by_hand_only(
    own_digits: Project, open_page: OpenPage, tmp_path: Path
) -> None:
    folder = str(own_digits.directory.rename(tmp_path / "elsewhere"))
    confirmed_functions.clear()
    app = open_page("open", way="project", folder=folder)
    assert not app.error and app.code[0].value.endswith("task.py:build")
    assert "was not opened on this machine" in words(open_page("mispredictions", project=folder))
    app.button(key="own-open-folder").click().run()
    assert shown(app, "mispredictions") is not None
    app = open_page("open", way="project", folder="/nowhere")
    assert "No project at '/nowhere'" in words(app) and app.button(key="own-open-folder").disabled


def test_a_lost_opening_is_said(open_page: OpenPage) -> None:
    app = open_page("open", job="0123456789")
    assert not app.exception and "was lost when the server was restarted" in words(app)


def test_folders_are_browsed_to_a_file(saved: OwnFiles, open_page: OpenPage) -> None:
    app = open_page("open", train=str(saved.train.parent.parent))
    browser = app.selectbox(key="own-train chosen")
    assert browser.options == ["films/"]
    browser.set_value("films/").run()
    browser = app.selectbox(key="own-train chosen")
    assert browser.options == ["output/", "test.csv", "train.csv"]
    browser.set_value("train.csv").run()
    assert value(app, "train") == str(saved.train)
    app.button(key="own-train up").click().run()
    assert app.selectbox(key="own-train chosen").options == ["films/"]


def test_the_landing_page_leads_here(open_page: OpenPage) -> None:
    app = open_page("projects")
    app.button(key="open-own").click().run()
    assert app.title[0].value == "Open your own"


def test_a_model_of_another_kind_is_refused(own: OwnFiles, open_page: OpenPage) -> None:
    for step in (5, 10):
        file = own.model / f"checkpoint-{step}" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["BertForMaskedLM"]}))
    assert "which is no classifier" in words(open_page("open", **own.fields))


def test_a_second_text_is_chosen_and_is_no_other_column(own: OwnFiles, open_page: OpenPage) -> None:
    for file in (own.train, own.test):
        table = pd.read_csv(file)
        table["answer"] = "so it is"
        table.to_csv(file, index=False)
    app = open_page("open", **own.fields)
    assert value(app, "pair") in ("", None) and "--pair" not in app.code[0].value
    app.selectbox(key="own-pair").set_value("answer").run()
    assert not app.error and "--text review --pair answer --label sentiment" in app.code[0].value
    app.selectbox(key="own-pair").set_value("sentiment").run()
    assert "'sentiment' is the second text and something else, too" in words(app)
    assert app.button(key="own-open").disabled
