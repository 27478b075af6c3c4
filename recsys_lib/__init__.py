"""Recommenders built on language models, and the hardware they cost: what the notebooks share."""

__version__ = "0.1.0"
