"""How a notebook is run, swept and recorded; how the studies and a reader's own catalogue are laid out."""

from recsys_lib.experiments.parameters import given_path
from recsys_lib.experiments.records import measurements, record, rows

__all__ = ["given_path", "measurements", "record", "rows"]
