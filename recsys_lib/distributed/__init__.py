"""How the same code uses many machines: encoding, training, sweeps, search and serving under Ray.

No algorithm lives here: each function hands those of the packages below to the workers of a Ray cluster,
which ``cluster`` starts on this machine or finds at an address (``deploy/`` has files that start real ones).
``processes`` are workers without a cluster.
"""
