"""The form for a transformers checkpoint and its tables: each field is checked as it is filled in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import streamlit as st

from attribution.errors import TracefixError
from attribution.projects.files import expanded, is_file, is_folder
from attribution.projects.manifest import CheckpointRecord
from dashboard.components.table import Column, Row, table
from dashboard.folder_browser import TABLE_ENDINGS, folder_browser
from dashboard.messages import escaped, problem
from dashboard.new_project import Table
from dashboard.own_drafts import TablesDraft, project_directory, suggested_name
from dashboard.own_fields import key_of, looked_up, set_default, typed
from dashboard.own_tables import (
    LOOKED_AT,
    FoundModel,
    FoundTable,
    found_checkpoints,
    found_model,
    found_table,
    guessed_columns,
    label_counts,
    label_problem,
)
from dashboard.views.table_preview import SHOWN_LABELS, label_rows, preview_rows

ROW_NUMBERS = ""
"""The choice of no id column."""

ALONE = ""
"""The choice of no second text."""

_SUGGESTED, _EMPTIED = "own name suggested", "own name emptied"
"""The name that the form proposed, and whether the user took it out (in the session)."""


def tables_form() -> tuple[TablesDraft | None, list[str]]:
    """Draw the form. What it says, None while something is missing or wrong; and what that is, in a few words."""
    # Every section is a container: a message that comes or goes would else move the fields below, and a browser drops
    # what is being typed in a field that moves.
    st.header("Model", anchor=False)
    with st.container(key="section-model"):
        path_field("model", "Folder of the model", "A checkpoint, or a Trainer's output folder")
        model = looked_up("model", found_model)
        _say_classes(model)
    st.header("Data", anchor=False)
    found: dict[str, FoundTable | None] = {}
    for place, split, label in zip(
        st.columns(2), ("train", "test"), ("Training table", "Test table"), strict=True
    ):
        with place:
            path_field(
                split,
                label,
                "A table, or a folder of pictures by class",
                endings=TABLE_ENDINGS,
            )
            found[split] = looked_up(split, _table)
            _say_size(found[split])
    missing = [
        words
        for words, is_there in {
            "a model": model,
            "a training table": found["train"],
            "a test table": found["test"],
        }.items()
        if is_there is None
    ]
    train, test = found["train"], found["test"]
    if model is None or train is None or test is None:
        return None, missing
    with st.container(key="section-columns"):
        columns, wrong = _columns(model, train, test)
    st.header("Checkpoints of the training run", anchor=False)
    with st.container(key="section-checkpoints"):
        records = _checkpoints(model)
    if records is None:
        wrong.append("checkpoints that can be used")
    directory = name_field(model.folder)
    if directory is None:
        wrong.append("a name")
    if wrong or directory is None:
        return None, wrong
    given = Path(expanded(typed("model"))).absolute()
    return (
        TablesDraft(directory, given, train.file, test.file, columns, typed("checkpoints") or None),
        [],
    )


def path_field(field: str, label: str, hint: str, *, endings: tuple[str, ...] = ()) -> None:
    """A text field for a path, and the browser beside it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(label, key=key_of(field), placeholder=hint)
        folder_browser(key_of(field), label, endings=endings, folder=True)


def name_field(source: Path) -> Path | None:
    """The field for the project's name; the directory that it means, None where it is none."""
    st.header("Project", anchor=False)
    suggestion = st.session_state.get(_SUGGESTED)
    if not st.session_state.get(_EMPTIED) and typed("name") in ("", suggestion):
        st.session_state[key_of("name")] = st.session_state[_SUGGESTED] = suggested_name(source)
    st.text_input(
        "Name of the project",
        key=key_of("name"),
        help="Its folder is made in the projects folder; a whole path makes it elsewhere.",
    )
    st.session_state[_EMPTIED] = not typed("name")  # by the user: it is not filled in again at once
    try:
        directory = project_directory(typed("name"))
    except TracefixError as error:
        problem(str(error))
        return None
    st.caption(escaped(f"In {directory}"))
    return directory


def _say_classes(model: FoundModel | None) -> None:
    if model is not None:
        reads = {"text": "texts", "image": "pictures", None: "texts or pictures"}[model.kind]
        names = ", ".join(model.classes[:8]) + (", …" if len(model.classes) > 8 else "")
        st.caption(
            escaped(f"{model.architecture}, which reads {reads}. {len(model.classes)} classes: {names}")
        )


def _say_size(found: FoundTable | None) -> None:
    if found is not None:
        rows = f"{len(found.rows):,} rows" if found.complete else f"More than {LOOKED_AT:,} rows"
        st.caption(escaped(f"{rows}, columns {', '.join(found.columns[:12])}"))


def _columns(model: FoundModel, train: FoundTable, test: FoundTable) -> tuple[Table, list[str]]:
    """The columns that are chosen, and what is wrong with them."""
    guess = guessed_columns(train, model)
    names = train.columns
    kind = "image" if guess.image is not None else "text"
    with st.container(horizontal=True):
        if model.kind is None:
            set_default("reads", kind, ["text", "image"])
            kind = st.selectbox("The model reads", ["text", "image"], key=key_of("reads"))
        set_default(kind, guess.image or guess.text or names[0], names)
        st.selectbox(
            "Column with pictures" if kind == "image" else "Column with texts", names, key=key_of(kind)
        )
        if kind == "text":
            set_default("pair", ALONE, [ALONE, *names])
            st.selectbox(
                "Column with second texts",
                [ALONE, *names],
                key=key_of("pair"),
                format_func=lambda name: "none" if name == ALONE else str(name),
                help="Where the model compares two texts: a premise and a hypothesis, say.",
            )
        set_default("label", guess.label, names)
        st.selectbox("Column with labels", names, key=key_of("label"))
        set_default("id", guess.id or ROW_NUMBERS, [ROW_NUMBERS, *names])
        st.selectbox(
            "Column with ids",
            [ROW_NUMBERS, *names],
            key=key_of("id"),
            format_func=lambda name: "row numbers" if name == ROW_NUMBERS else str(name),
        )
    pair = (typed("pair") or None) if kind == "text" else None
    chosen = Table(**{kind: typed(kind)}, pair=pair, label=typed("label"), id=typed("id") or None)
    used = {
        name: use
        for use, name in (
            (kind, typed(kind)),
            ("second text", pair),
            ("label", chosen.label),
            ("id", chosen.id),
        )
        if name
    }
    columns, rows = preview_rows(train, used)
    table("own-preview", columns, rows, caption="The first training rows", kind=kind, thumbnail=56)
    if pair is not None and pair in (typed(kind), chosen.label):
        problem(f"'{pair}' is the second text and something else, too: choose different columns.")
        return chosen, ["a column of second texts of its own, or none"]
    if typed(kind) == chosen.label:
        problem(
            f"The model cannot read '{chosen.label}' and be asked for it, too: choose two different columns."
        )
        return chosen, ["a column of labels apart from the one the model reads"]
    absent = [name for name in used if name not in test.columns]
    if absent:
        problem(
            f"'{test.file}' has no column '{absent[0]}': its columns are "
            f"{', '.join(repr(name) for name in test.columns[:20])}."
        )
        return chosen, ["the same columns in both tables"]
    return chosen, _labels(model, train, test, chosen.label)


def _labels(model: FoundModel, train: FoundTable, test: FoundTable, column: str) -> list[str]:
    """Draw how labels become classes; what is wrong with them."""
    counts = label_counts(train, test, column, model.classes)
    wrong = label_problem(counts, model.classes, column)
    if wrong is not None:
        problem(wrong)
    columns, rows = label_rows(counts)
    table("own-labels", columns, rows, caption="Labels and the classes they mean", height=320)
    notes = []
    if len(counts) > SHOWN_LABELS:
        notes.append(f"{SHOWN_LABELS} of {len(counts):,} different labels.")
    if not (train.complete and test.complete):
        notes.append(f"Counted in the first {LOOKED_AT:,} rows of each table; opening checks all.")
    unseen = [name for name in model.classes if not any(c.train for c in counts if c.meaning == name)]
    if unseen and wrong is None:
        notes.append(
            f"No training row of class {', '.join(unseen[:5])}{', …' if len(unseen) > 5 else ''} there."
        )
    if notes:
        st.caption(escaped(" ".join(notes)))
    return ["labels that are classes of the model"] if wrong is not None else []


def _checkpoints(model: FoundModel) -> list[CheckpointRecord] | None:
    """Draw the checkpoints of the run; None where those that are named cannot be used."""
    st.text_input(
        "Checkpoints (optional)",
        key=key_of("checkpoints"),
        placeholder="A pattern such as /path/checkpoint-*, or a CSV or JSON list",
        help="Folders, safetensors files or state dicts (.pt, .ckpt) by a pattern, or a list with path, step and "
        "learning_rate. Left empty, those of a Trainer's output folder are taken. Methods that follow the training "
        "run need them.",
    )
    folder = Path(expanded(typed("model"))).absolute()
    try:
        records = _found_checkpoints(folder, model.folder, typed("checkpoints"))
    except TracefixError as error:
        problem(str(error))
        return None
    if not records:
        st.caption("None found: methods that follow the training run will not be offered; all others will.")
        return records
    columns = [
        Column("step", "Step", "count", align="right"),
        Column("rate", "Learning rate", "word", align="right"),
        Column("path", "File", "muted"),
    ]
    rows = [
        Row(
            id=str(number),
            name=f"Step {record.step}",
            cells={"step": record.step, "rate": f"{record.learning_rate:.3g}", "path": record.path},
        )
        for number, record in enumerate(records)
    ]
    table("own-checkpoint-table", columns, rows, caption="Checkpoints found", height=240)
    return records


def _table(given: str) -> FoundTable:
    """The beginning of a table, kept until its file changes; of a folder, until files come or go in it."""
    path = expanded(given).absolute()
    stamp = None
    if is_file(path):
        stamp = path.stat().st_mtime_ns
    elif is_folder(path):
        with suppress(OSError):  # whoever reads it says what is wrong with it
            folders = [path, *(inside for inside in path.iterdir() if is_folder(inside))]
            stamp = max(folder.stat().st_mtime_ns for folder in folders)
    return _read(str(path), stamp)


@st.cache_resource(max_entries=8, ttl=30, show_spinner="Looking at the checkpoints")
def _found_checkpoints(folder: Path, model: Path, pattern: str) -> list[CheckpointRecord]:
    return found_checkpoints(folder, model, pattern)


@st.cache_resource(max_entries=8, show_spinner=False)
def _read(path: str, stamp: int | None) -> FoundTable:
    del stamp
    return found_table(path)
