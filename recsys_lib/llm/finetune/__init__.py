"""Training a language model on interactions.

``text_model`` makes an encoder differentiable and chooses the weights that are trained; ``batches`` says
which items and users a step sees; ``objectives`` turn vectors into a loss; ``trainer`` runs the steps,
alone or as one of several workers, and survives a kill; ``memory_estimate`` says beforehand what a step
needs. ``decoder`` trains a decoder to answer whether a user would like an item, or which of several most;
``trained_cross_encoder`` trains an encoder to read history and candidate together; ``passes`` is what both
share.
"""
