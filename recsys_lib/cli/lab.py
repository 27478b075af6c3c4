"""``lab``: JupyterLab."""

from __future__ import annotations


def lab() -> int:
    """Open JupyterLab in notebooks/."""
    from recsys_lib.experiments import notebooks

    return notebooks.open_lab()
