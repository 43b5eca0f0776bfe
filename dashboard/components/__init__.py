"""Small browser components, where Streamlit has no widget: rows that open with one click, cards, a clickable matrix.

Each is a Python function that mounts the JavaScript and CSS file of the same name. Data reaches the page as JSON and
becomes text nodes there, never markup. Events carry stable ids, never positions.
"""
