"""The dashboard's entry point: navigation around the pages in `app_pages`. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import permission
from dashboard.engines import warmth
from dashboard.login import account_bar, gate
from dashboard.messages import calm
from dashboard.state import PAGES, travel
from dashboard.story import story_wanted
from dashboard.waiting import keep_waiting, redraw_when, start_anew

HERE = Path(__file__).parent

# CSS pixels: room for a thumbnail, a class name and a button beside each other.
SIDEBAR_WIDTH = 320


def main() -> None:
    """Draw the page that the URL asks for."""
    story = story_wanted()
    st.set_page_config(
        page_title="Tracefix",
        # A picture of our own: Streamlit would ask a font server for a named icon.
        page_icon=str(HERE / "assets" / "icon.svg"),
        layout="wide",
        initial_sidebar_state="collapsed" if story else SIDEBAR_WIDTH,
    )
    st.logo(str(HERE / "assets" / "logo.svg"), size="large")
    st.html(HERE / "assets" / "app.css")
    permission.enforce()
    with calm():
        gate()
    page = st.navigation(
        [
            st.Page(
                HERE / PAGES["projects"],
                title="Projects",
                icon=":material/folder_open:",
                default=True,
                help="Bundled samples, recent projects, and how to open your own.",
            ),
            st.Page(
                HERE / PAGES["open"],
                title="Open your own",
                icon=":material/upload_file:",
                help="A model of your own with its data, a Python task file, or a project folder.",
            ),
            st.Page(
                HERE / PAGES["mispredictions"],
                title="Mispredictions",
                icon=":material/rule:",
                help="What the model gets wrong: one click on a row investigates it.",
            ),
            st.Page(
                HERE / PAGES["investigate"],
                title="Investigate",
                icon=":material/travel_explore:",
                help="The training examples behind one prediction: culprits and helpers.",
            ),
            st.Page(
                HERE / PAGES["group"],
                title="Together",
                icon=":material/group_work:",
                help="Several mispredictions as one: their common culprits, and a fix for all of them.",
            ),
            st.Page(
                HERE / PAGES["compare"],
                title="Compare",
                icon=":material/balance:",
                help="Several methods on one prediction: how far they agree, and what each lists first.",
            ),
            st.Page(
                HERE / PAGES["preview"],
                title="Preview",
                icon=":material/preview:",
                help="What a fix does to this prediction and to everything else, beside two controls.",
            ),
            st.Page(
                HERE / PAGES["history"],
                title="History",
                icon=":material/history:",
                help="Every kept fix: recipe, result, note.",
            ),
            st.Page(
                HERE / PAGES["trust"],
                title="Trust",
                icon=":material/verified:",
                help="What was measured on this project: which methods to believe here, and how far.",
            ),
            # From the history only: it needs two fixes to be chosen there.
            st.Page(HERE / PAGES["compare_fixes"], title="Compare fixes", visibility="hidden"),
        ],
        position="hidden" if story else "top",
    )
    travel()
    start_anew()
    account_bar()
    with calm():
        page.run()
    # Only now: importing torch would slow the first page down.
    if warmth().start():
        redraw_when(lambda: True)
    keep_waiting()


if __name__ == "__main__":
    main()
