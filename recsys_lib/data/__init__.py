"""Where models and data come from: pinned downloads (``assets``) and data sets of interactions
(``datasets``).
"""
