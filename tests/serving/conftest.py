"""A store with the shop's artefact, made once a file and copied for each test."""

import shutil

import pytest
from shop_server import store_in


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """What ``store`` copies: fitted on all interactions; a file with another wish defines its own."""
    return store_in(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def store(template, tmp_path):
    return shutil.copytree(template, tmp_path / "store")
