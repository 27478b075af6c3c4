"""The reranking study: first stages and their candidates, controls, evaluation of reordered lists, recorded
runs."""
