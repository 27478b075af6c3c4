"""Bad texts and arguments of encoders, models of a hub, and the GPU."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_cases import TEXTS

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.vectors import similarity

ROOT = Path(__file__).resolve().parent.parent.parent

# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("texts", "message"), [
    ("one text", "expected a list of texts, not a single one"),
    (None, "texts=None: expected a list of texts, not NoneType"),
    (["a", None], r"texts\[1\]=None: expected a str, not NoneType"),
    (["a", float("nan")], r"texts\[1\]=nan"),
    ([b"bytes"], "not bytes"),
])  # fmt: skip
def test_bad_texts_are_named(tiny, texts, message):
    corpus = ["Crime"]
    for encoder in (encoders.load("genres", corpus=corpus), encoders.load("tfidf", corpus=corpus),
        encoders.load("wordllama"),
                    encoders.load(tiny["bert"])):  # fmt: skip
        with pytest.raises(InputError, match=message):
            encoder.encode(texts)


def test_no_texts_and_lone_surrogates(tiny):
    for encoder in (
        encoders.load("wordllama"),
        encoders.load(tiny["bert"], cache=False),
        encoders.load("tfidf", corpus=["a b"]),
        encoders.load("genres", corpus=["a b"]),
    ):
        assert encoder.encode([]).shape == (0, encoder.dimension)
        assert encoder.encode(iter(["a", "b"])).shape == (2, encoder.dimension)
        assert np.isfinite(encoder.encode(["\ud800 half", "whole"])).all()


@pytest.mark.parametrize("pooling", ["mean", "echo"])
def test_texts_are_cut_to_what_the_model_can_take(tiny, pooling):
    endless = ["word " * 30_000, "词" * 50_000, "a" * 100_000, "short"]
    whole = encoders.load(tiny["bert"], pooling=pooling, precision="float32", cache=False, max_tokens=100_000)
    assert whole.max_tokens_read == 512
    vectors = whole.encode(endless)
    assert vectors.shape == (4, 32) and np.isfinite(vectors).all()
    # Another batch, another order of sums on some processors: equal up to float32 rounding.
    np.testing.assert_allclose(vectors[0], whole.encode(["word " * 600])[0], atol=1e-5)
    few = encoders.load(tiny["bert"], precision="float32", cache=False, max_tokens=2)
    with pytest.raises(InputError, match=r"max_tokens=2: .* adds 2 tokens to every text"):
        few.encode(["a"])


@pytest.mark.parametrize(("name", "options", "message"), [
    ("minilmm", {}, "expected one of minilm"),
    ("tfidf", {}, "pass corpus"),
    ("tfidf", {"corpus": ["", " "]}, "corpus of 2 texts"),
    ("genres", {"corpus": [""]}, "no label"),
    ("genres", {"corpus": ["a"], "pooling": "mean"}, "takes no pooling"),
    ("minilm", {"corpus": ["a"]}, "already trained"),
    ("minilm", {"pooling": "median"}, "expected one of mean, last"),
    ("minilm", {"precision": "fp8"}, "expected one of auto, float32"),
    ("minilm", {"precision": "float16", "device": "cpu"}, "use bfloat16"),
    ("minilm", {"device": "tpu"}, "expected auto, cpu or cuda"),
    ("minilm", {"token_budget": 0}, "token_budget=0"),
    ("minilm", {"token_budget": 1.5}, "token_budget=1.5: expected a whole number"),
    ("minilm", {"max_tokens": "3"}, "max_tokens='3': expected a whole number"),
    ("minilm", {"prefix": 3}, "prefix=3: expected a text"),
    ("minilm", {"poolin": "mean"}, "takes no option 'poolin'; its options are precision, backend"),
])  # fmt: skip
def test_bad_arguments_of_load(name, options, message):
    with pytest.raises(InputError, match=message):
        encoders.load(name, **options)


def test_a_hub_that_is_not_reached_is_one_line():
    program = (
        "import time\nfrom recsys_lib import encoders\nfrom recsys_lib.core.errors import InputError\n"
        "time.sleep = lambda seconds: None  # the hub's client tries five times, with longer and longer "
        "waits\n"
        "try:\n    encoders.load('some-org/some-model').encode(['x'])\n"
        "except InputError as e:\n    print('LINES', str(e).count(chr(10)), e)\n"
    )
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": "/nonexistent",
    }
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "LINES 0 model 'some-org/some-model' could not be loaded" in result.stdout, result.stderr[-500:]
    assert result.stderr == ""


COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of a model hub that loading a model uses: one repository with its commit and tag."""

    folder: str
    revisions: tuple[str, ...] = ("main",)

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        revision, _, file = self.path.removeprefix("/some-org/tiny/resolve/").partition("?")[0].partition("/")
        path = Path(self.folder) / file
        if revision not in (*self.revisions, COMMIT) or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


def test_a_hub_id_is_downloaded_and_gives_the_vectors_of_the_folder(tiny, tmp_path):
    handler = type("Handler", (Hub,), {"folder": tiny["bert"], "revisions": ("v1",)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "import json; from recsys_lib import encoders\n"
        "e = encoders.load('some-org/tiny', revision='v1', precision='float32', cache=False)\n"
        "assert e.options['weights'] == 'some-org/tiny@' + '0' * 40\n"
        "print(json.dumps(e.encode(['Toy Story', 'Alien']).tolist()))"
    )
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    server.shutdown()
    assert result.returncode == 0, result.stderr[-1500:]
    here = encoders.load(tiny["bert"], precision="float32", cache=False).encode(["Toy Story", "Alien"])
    assert np.allclose(json.loads(result.stdout), here, atol=1e-6)


def test_loading_and_encoding_print_nothing(tiny, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoders.load(tiny["llama"], precision="float32", cache=False).encode(["a", "b c"])
    out, err = capfd.readouterr()
    assert out == "" and err == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_the_gpu_gives_the_same_vectors(precision):
    on = [
        encoders.load("minilm", precision=p, device=d, cache=False).encode(TEXTS)
        for p, d in (("float32", "cpu"), (precision, "cuda"))
    ]
    assert np.diag(similarity.cosine(*on)).min() > (0.9999 if precision == "float32" else 0.99)
