"""The table of a split: one row per example, with a label and a text or an image. Reading it needs no torch."""

from attribution.sources.tables.opening import open_table, read_table
from attribution.sources.tables.table import Columns, Table

__all__ = ["Columns", "Table", "open_table", "read_table"]
