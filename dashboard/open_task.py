"""The form for a Python task file: shown by its whole path, run only when the user says so."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.folder_browser import folder_browser
from dashboard.function_files import FunctionFile, function_file
from dashboard.open_tables import name_field
from dashboard.own_drafts import TaskDraft
from dashboard.own_fields import key_of, looked_up


def task_form() -> tuple[TaskDraft | None, list[str]]:
    """Draw the form. What it says, None while something is missing or wrong; and what that is, in a few words."""
    st.header("Task file", anchor=False)
    st.markdown(
        "A Python function that returns an `attribution.Task`: any `torch.nn.Module`, any map-style dataset."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("File and function", key=key_of("task"), placeholder="/path/my_task.py:build")
        folder_browser(key_of("task"), "Task file", endings=(".py",))
    file = looked_up("task", _function)
    if file is None:
        return None, ["a task file"]
    with st.container(border=True, key="confirm-task"):
        st.markdown(
            ":material/shield_question: **Opening it runs the whole file with your rights**, now and whenever the "
            "project is opened: do so only if you know what it does."
        )
        st.code(file.name, language=None, wrap_lines=True)
    directory = name_field(file.path)
    return (None, ["a name"]) if directory is None else (TaskDraft(directory, file), [])


def _function(given: str) -> FunctionFile:
    """The function of a name; of a file alone, ``build`` of it."""
    named = given if not given.endswith(".py") else f"{given}:build"
    return function_file(named, Path.cwd())
