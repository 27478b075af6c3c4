"""What this machine takes for the work of these notebooks, and one record per machine in
``data/measurements/``.

``load_patterns`` (of ``hardware``): single stream, offline, server. ``path``: tokenize → encode → search →
rank, stage by stage. ``points``: work whose operations and bytes are counted, to hold under the roofline.
``language``: prefill and decode, and models with random weights.
``timed_rows``: the row of such a point. ``growth_exponents``: time and memory against size, with fitted
exponents. ``training_phases``: where training time goes. ``record``: all of it in a file.
"""

from recsys_lib.hardware import load_patterns

__all__ = ["load_patterns"]
