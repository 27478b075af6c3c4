"""Twin accounts raise EASE on the articles, and the loader that joins them takes that back."""

import pytest

from recsys_lib.experiments.catalogues import twins

pytestmark = pytest.mark.slow


def test_joining_twins_takes_back_what_they_gave(monkeypatch):
    monkeypatch.setattr(twins, "EASE_SPACE", {"regularization": [3.0, 100.0]})
    found = twins.measure()
    assert found["twins apart"]["users"] - found["twins joined"]["users"] == 854
    assert found["twins apart"]["ndcg"]["EASE"] > 2 * found["twins joined"]["ndcg"]["EASE"]
    apart, joined = (found[name]["pairs"] for name in ("twins apart", "twins joined"))
    assert apart == {"45% to 65%": 2, "70% and over": 577} and joined["70% and over"] == 0
    assert found["twins apart"]["regularization"] < found["twins joined"]["regularization"]
