"""The requests that the READMEs show are ones that the service takes."""

import re

import pytest

from recsys_lib.reporting.readme import FILES
from recsys_lib.serving import schemas

TAKEN = {
    "items": schemas.ItemsRequest, "events": schemas.EventsRequest, "recommend": schemas.RecommendRequest,
}  # fmt: skip


@pytest.mark.parametrize("language", FILES)
def test_bodies_of_the_readmes_are_valid(language):
    text = FILES[language].read_text(encoding="utf-8")
    shown = dict(re.findall(r"^curl .*localhost:8000/(\w+) .*-d '(.+)'$", text, flags=re.M))
    assert set(shown) == set(TAKEN)
    for path, body in shown.items():
        TAKEN[path].model_validate_json(body)
