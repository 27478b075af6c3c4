"""How a notebook is run, swept and recorded; how studies and a user's own catalogue are arranged."""

from recsys_lib.core.records import measurements
from recsys_lib.experiments.notebook_record import record, rows
from recsys_lib.experiments.parameters import given_path

__all__ = ["given_path", "measurements", "record", "rows"]
