"""A tiny random BERT that the tests of training share."""

import pytest
from training_cases import tiny_bert


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))
