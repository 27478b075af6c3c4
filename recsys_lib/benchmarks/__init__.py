"""How fast is it here: timings against baselines (``baselines``) and the recorded workloads of a machine
(``workloads``).
"""
