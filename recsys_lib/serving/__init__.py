"""How a recommender is saved, served, fed with events and updated.

An artefact holds the fitted model and its catalogue; a FastAPI application answers from it; events go to a
database before they are acknowledged; a refit reads them and swaps the artefact if the new one is not worse.
"""
