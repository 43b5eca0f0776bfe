"""The measurement switch, and that a link alone never makes the server run a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from torch import Tensor

from attribution import Engine, Project, Task, prepare
from attribution.fixing import FixSettings
from dashboard.current import Opened, stamp_of
from dashboard.engines import job_queue
from dashboard.explaining import Question, comparison_job, explanation_job, start_fix
from dashboard.function_files import ConfirmedFunctions, confirmed_functions, function_file
from dashboard.locations import PROJECTS_VARIABLE
from tests.app.drawn_pages import PATIENCE, OpenPage, shown, until_shown
from tests.unit.built_projects import project_of
from tests.unit.tiny_models import trained_mlp

FUNCTION = """
from pathlib import Path

Path({mark!r}).write_text("run")


def chosen(logits, labels):
    return logits[:, 0] - logits[:, 1]


def broken(logits):
    return logits.no_such_thing
"""


def lead(logits: Tensor) -> Tensor:
    """How far a is ahead of b."""
    return logits[:, 0] - logits[:, 1]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A prepared project, in the projects folder, whose task names a measurement."""
    monkeypatch.setenv(PROJECTS_VARIABLE, str(tmp_path / "projects"))

    def build() -> Task:
        return replace(trained_mlp(), measurements={"lead of a": lead})

    project = project_of(tmp_path / "projects" / "measured", build)
    prepare(project, device="cpu")
    return Project.open(project.directory)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that the function file writes when it is run."""
    return tmp_path / "mark"


@pytest.fixture
def file(tmp_path: Path, mark: Path) -> Path:
    """A function file somewhere on the machine, neither confirmed nor part of a project."""
    confirmed_functions.clear()
    path = tmp_path / "elsewhere" / "mine.py"
    path.parent.mkdir()
    path.write_text(FUNCTION.format(mark=str(mark)), encoding="utf-8")
    return path


@pytest.fixture
def investigate(measured: Project, open_page: OpenPage) -> Callable[..., AppTest]:
    def opened(measurement: str | None = None, page: str = "investigate") -> AppTest:
        more = {} if measurement is None else {"measurement": measurement}
        return open_page(page, project="measured", example=measured.mispredictions()[0]["id"], **more)

    return opened


def labels(app: AppTest) -> set[str]:
    return {button.label for button in app.button}


def opened_project(project: Project) -> Opened:
    return Opened("measured", project, str(stamp_of(project.directory)))


@pytest.mark.parametrize("page", ["investigate", "compare"])
def test_every_measurement_is_offered(
    page: str, investigate: Callable[..., AppTest], measured: Project
) -> None:
    app = investigate(page=page)
    assert {"margin", "loss", "lead of a"} <= labels(app)
    assert app.selectbox(key="logit class").options == measured.class_names
    assert app.text_input(key="function typed").label == "A function of yours"
    assert "How far a is ahead of b." in [caption.value.replace("\\", "") for caption in app.caption]


def test_a_measurement_of_the_task_is_explained(
    investigate: Callable[..., AppTest], measured: Project
) -> None:
    app = investigate()
    app.button(key="measurement-lead of a").click().run()
    assert app.query_params["measurement"] == "lead of a"
    data = until_shown(app, "influence")
    assert "raised “lead of a”" in data["columns"][0]["subtitle"]
    example = measured.mispredictions()[0]["id"]
    expected = Engine(measured).explain(example, measurement="lead of a").culprits(10)
    assert [card["id"] for card in data["columns"][0]["cards"]] == [card["id"] for card in expected]


def test_the_logit_of_a_class_is_chosen_by_its_name(investigate: Callable[..., AppTest]) -> None:
    app = investigate()
    app.selectbox(key="logit class").select("b").run()
    assert "logit of “b”" in until_shown(app, "influence")["columns"][0]["subtitle"]
    app.button(key="measurement-margin").click().run()
    assert "measurement" not in app.query_params


@pytest.mark.parametrize("page", ["investigate", "compare"])
def test_a_link_never_runs_a_file_until_the_user_says_so(
    page: str, investigate: Callable[..., AppTest], file: Path, mark: Path
) -> None:
    component = "influence" if page == "investigate" else "compared"
    app = investigate(f"{file}:chosen", page)
    until_shown(app, component)
    assert not app.exception and not app.error
    assert not mark.exists(), "opening a link is not the user's word"
    assert [block.value for block in app.code] == [f"{file}:chosen"], "what would run is shown in full"
    app.button(key="run-function").click().run()
    until_shown(app, component)
    assert mark.read_text() == "run"
    assert not app.code, "nothing is left to confirm"
    again = investigate(f"{file}:chosen", page)
    until_shown(again, component)
    assert not again.code, "it is confirmed until the server stops"


def test_what_culprits_did_is_said_with_the_functions_name(
    investigate: Callable[..., AppTest], file: Path
) -> None:
    app = investigate(f"{file}:chosen")
    app.button(key="run-function").click().run()
    assert "raised “chosen()”" in until_shown(app, "influence")["columns"][0]["subtitle"]


def test_next_carries_what_awaits_confirmation(
    investigate: Callable[..., AppTest], file: Path, mark: Path
) -> None:
    app = investigate(f"{file}:chosen")
    app.button(key="next").click().run()
    until_shown(app, "influence")
    assert [block.value for block in app.code] == [f"{file}:chosen"]
    app.button(key="leave-function").click().run()
    assert not app.code and "measurement" not in app.query_params
    assert not mark.exists()


def test_a_changed_file_is_confirmed_anew(
    investigate: Callable[..., AppTest], file: Path, mark: Path
) -> None:
    app = investigate(f"{file}:chosen")
    app.button(key="run-function").click().run()
    until_shown(app, "influence")
    mark.unlink()
    file.write_text(file.read_text(encoding="utf-8") + "\n# other code\n", encoding="utf-8")
    app = investigate(f"{file}:chosen")
    until_shown(app, "influence")
    assert app.code and not mark.exists()


def test_no_job_runs_what_was_not_confirmed(measured: Project, file: Path, mark: Path) -> None:
    """Also where a page fails to ask: a fix in the history may name any file as its measurement."""
    opened = opened_project(measured)
    question = Question(measured.mispredictions()[0]["id"], "grad_dot", f"{file}:chosen")
    jobs = [
        explanation_job(opened, question),
        comparison_job(opened, question, ["grad_dot"]),
        start_fix(opened, question, [], FixSettings(), ""),
    ]
    for job in jobs:
        assert job.wait(PATIENCE)
        assert job.state == "failed" and "was not confirmed" in str(job.error)
    assert not mark.exists()
    assert all(job_queue().get(job.id) is job for job in jobs)


def test_typing_a_name_confirms_it(investigate: Callable[..., AppTest], file: Path, mark: Path) -> None:
    app = investigate()
    app.text_input(key="function typed").input(f" {file}:chosen ")
    app.button(key="use-function").click().run()
    assert "raised “chosen()”" in until_shown(app, "influence")["columns"][0]["subtitle"]
    assert mark.exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "is not of the form FILE.py:FUNCTION"),
        ("mine.py", "is not of the form FILE.py:FUNCTION"),
        ("mine.py:", "is not of the form FILE.py:FUNCTION"),
        ("mine.py:a b", "is not of the form FILE.py:FUNCTION"),
        ("mine.txt:f", "is not of the form FILE.py:FUNCTION"),
        ("/nowhere/mine.py:f", "There is no file '/nowhere/mine.py'"),
        ("mine.py:f\u202e", "cannot be shown"),
        ("\0.py:f", "cannot be shown"),
        ("~nobody-here/mine.py:f", "There is no file"),
        ("a" * 300 + ".py:f", "There is no file"),
    ],
)
def test_a_name_that_means_nothing_loses_nothing(
    typed: str, said: str, investigate: Callable[..., AppTest]
) -> None:
    app = investigate("loss")
    before = until_shown(app, "influence")
    app.text_input(key="function typed").input(typed)
    app.button(key="use-function").click().run()
    assert not app.exception
    assert said in " ".join(error.value.replace("\\", "") for error in app.error)
    assert shown(app, "influence") == before, "the explanation stays"
    assert app.text_input(key="function typed").value == typed, "what was typed stays, to be mended"
    app.button(key="measurement-margin").click().run()
    assert not app.error


def test_a_function_that_fails_is_said_and_can_be_left(
    investigate: Callable[..., AppTest], file: Path
) -> None:
    app = investigate()
    app.text_input(key="function typed").input(f"{file}:broken")
    app.button(key="use-function").click().run()
    for _ in range(200):
        if app.error:
            break
        app.run()
    assert "fails (AttributeError" in app.error[0].value.replace("\\", "")
    app.button(key="measurement-margin").click().run()
    until_shown(app, "influence")
    assert not app.error


def test_relative_names_start_at_the_project_then_where_the_server_runs(
    investigate: Callable[..., AppTest], measured: Project, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    app = investigate()
    app.text_input(key="function typed").input("mine.py:chosen")
    app.button(key="use-function").click().run()
    until_shown(app, "influence")
    assert app.query_params["measurement"] == f"{file}:chosen", (
        "a link to it means the same wherever the server runs"
    )
    (measured.directory / "mine.py").write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert function_file("mine.py:chosen", measured.directory).path.parent == measured.directory


class TestWithoutConfirmation:
    """Only the project's task file runs by a link: it runs anyway when the project is opened."""

    def test_the_task_file_may_run(self, measured: Project) -> None:
        with (measured.directory / "task.py").open("a", encoding="utf-8") as stream:
            stream.write("\n\ndef chosen(logits):\n    return logits[:, 0]\n")
        file = function_file("task.py:chosen", measured.directory)
        assert ConfirmedFunctions().may_run(measured, file)

    def test_other_files_of_its_folder_may_not(self, measured: Project, file: Path) -> None:
        """A project can lie in a repository whose scripts do things when they are run."""
        inside = measured.directory / "clean_up.py"
        inside.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
        assert not ConfirmedFunctions().may_run(
            measured, function_file("clean_up.py:chosen", measured.directory)
        )

    @pytest.mark.parametrize("name", ["../../elsewhere/mine.py:chosen", "linked.py:chosen"])
    def test_a_detour_leads_to_the_same_file(self, name: str, measured: Project, file: Path) -> None:
        (measured.directory / "linked.py").symlink_to(file)
        found = function_file(name, measured.directory)
        assert found.path == file
        assert not ConfirmedFunctions().may_run(measured, found)

    def test_confirming_one_function_confirms_no_other(self, measured: Project, file: Path) -> None:
        confirmed = ConfirmedFunctions()
        confirmed.confirm(function_file(f"{file}:chosen", measured.directory))
        assert confirmed.runnable(measured, f"{file}:chosen") == f"{file}:chosen"
        assert not confirmed.may_run(measured, function_file(f"{file}:broken", measured.directory))

    def test_code_that_comes_with_a_transformers_model_is_not_run(
        self, measured: Project, file: Path
    ) -> None:
        from attribution.projects import TransformersSource

        source = TransformersSource(model="model", train="train.csv", test="test.csv")
        project = Project(measured.directory, measured.manifest.model_copy(update={"source": source}))
        inside = measured.directory / "modeling_mine.py"
        inside.write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
        assert not ConfirmedFunctions().may_run(
            project, function_file("modeling_mine.py:chosen", project.directory)
        )
