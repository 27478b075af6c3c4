"""A saved encoder gives the same vectors, and one whose model has changed says so."""

import json

import numpy as np
import pytest

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.encoders import saved
from recsys_lib.encoders.distilled import Distilled

TEXTS = ["Crime, Drama", "the red house", "", "Sci-Fi"]


@pytest.mark.parametrize(("name", "options"), [
    ("tfidf", {"corpus": [*TEXTS, "the house of stars"]}),
    ("genres", {"corpus": TEXTS}),
    ("wordllama", {}),
    ("minilm", {"precision": "float32", "pooling": "cls", "normalize": True, "prefix": "query: ",
                "max_tokens": 9}),
])  # fmt: skip
def test_a_saved_encoder_gives_the_same_vectors(tmp_path, name, options):
    encoder = encoders.load(name, **options)
    saved.save(encoder, tmp_path / "chosen")
    again = saved.load(tmp_path / "chosen")
    assert again.options == encoder.options and again.dimension == encoder.dimension
    assert np.array_equal(again.encode(TEXTS, progress=False), encoder.encode(TEXTS, progress=False))


@pytest.fixture
def model(tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertModel

    from recsys_lib.core.quiet import quiet
    from recsys_lib.data import assets

    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    with quiet():
        BertModel(BertConfig(vocab_size=30522, **size)).save_pretrained(tmp_path / "model")
        AutoTokenizer.from_pretrained(assets.locate("minilm")).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_local_model_is_found_again_and_a_changed_one_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    encoder = encoders.load("./model", precision="float32", cache=False)
    saved.save(encoder, tmp_path / "chosen")
    monkeypatch.chdir("/")
    again = saved.load(tmp_path / "chosen", cache=False)
    assert np.array_equal(again.encode(TEXTS, progress=False), encoder.encode(TEXTS, progress=False))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    with pytest.raises(InputError, match=r"the weights of .* is now") as caught:
        saved.load(tmp_path / "chosen")
    assert "\n" not in str(caught.value)


def test_what_is_no_saved_encoder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no saved object"):
        saved.load(tmp_path)
    distilled = object.__new__(Distilled)
    distilled.name = "minilm-static"
    with pytest.raises(InputError, match="'minilm-static' cannot be saved, expected tfidf"):
        saved.save(distilled, tmp_path / "chosen")
