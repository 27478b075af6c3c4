"""How the same code uses many machines: encoding, training, sweeps and search under Ray.

No algorithm lives here: each function hands those of the packages below to the workers of a Ray cluster.
"""
