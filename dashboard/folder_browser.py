"""Choosing a folder or a file of the machine that the server runs on, for people who do not type paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from attribution.projects.files import expanded, is_folder

MOST_LISTED = 500
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".pq", ".gz")


def folder_browser(
    field: str, label: str, *, endings: Sequence[str] = (), folder: bool = False, disabled: bool = False
) -> None:
    """A popover that goes through folders and writes what was chosen into the text field with the key ``field``.

    Args:
        endings: of the files that can be chosen; without them only folders can.
        folder: whether a folder can be chosen beside files.
    """
    place, choice = f"{field} browsed", f"{field} chosen"
    with st.popover("Browse", icon=":material/folder_open:", disabled=disabled, key=f"browse-{field}"):
        here: Path = st.session_state.get(place) or _start(st.session_state.get(field, ""))
        st.text(str(here))
        folders, files = _entries(here, endings)
        listed = [f"{name}/" for name in folders] + files
        st.selectbox(
            f"{label}: go into a folder" + (", or choose a file" if endings else ""),
            listed[:MOST_LISTED],
            index=None,
            key=choice,
            placeholder="Nothing in here" if not listed else "Choose",
            on_change=_chosen,
            args=(field, here),
        )
        if len(listed) > MOST_LISTED:
            st.caption(f"The first {MOST_LISTED} of {len(listed):,}: type the path instead.")
        with st.container(horizontal=True):
            st.button(
                "Up", key=f"{field} up", on_click=_go, args=(field, here.parent), disabled=here == here.parent
            )
            st.button("Home", key=f"{field} home", on_click=_go, args=(field, Path.home()))
            st.button("Start folder", key=f"{field} start", on_click=_go, args=(field, Path.cwd()))
            if folder or not endings:
                st.button(
                    "Use this folder",
                    key=f"{field} use",
                    type="primary",
                    on_click=_take,
                    args=(field, str(here)),
                )


def _start(typed: str) -> Path:
    path = expanded(typed.strip()).absolute()
    return next((folder for folder in (path, path.parent) if typed.strip() and is_folder(folder)), Path.cwd())


def _entries(here: Path, endings: Sequence[str]) -> tuple[list[str], list[str]]:
    folders, files = [], []
    try:
        for path in here.iterdir():
            if path.name.startswith("."):
                continue
            if is_folder(path):
                folders.append(path.name)
            elif path.name.lower().endswith(tuple(endings)) and endings:
                files.append(path.name)
    except OSError as error:
        st.caption(f"This folder cannot be read: {error.strerror}.")
    return sorted(folders), sorted(files)


def _chosen(field: str, here: Path) -> None:
    name = st.session_state[f"{field} chosen"]
    if name is None:
        return
    st.session_state[f"{field} chosen"] = None
    if str(name).endswith("/"):
        _go(field, here / str(name).rstrip("/"))
    else:
        _take(field, str(here / str(name)))


def _go(field: str, folder: Path) -> None:
    st.session_state[f"{field} browsed"] = folder


def _take(field: str, path: str) -> None:
    st.session_state[field] = path
