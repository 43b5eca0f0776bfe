"""Pure functions from data to tables and figures; no Streamlit, no state."""
