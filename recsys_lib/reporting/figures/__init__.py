"""The figures of the notebooks that need more than ``plots``, by subject."""
