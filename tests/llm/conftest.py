"""Tiny random models that the tests of this folder share."""

import pytest
from tiny_models import KINDS, tiny_folder
from training_cases import tiny_bert

from recsys_lib.llm import language_model


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module", params=sorted(KINDS))
def folder(request, tmp_path_factory):
    """Of a decoder, one of every kind."""
    return tiny_folder(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def torch_model(folder):
    return language_model.load(str(folder), device="cpu")
