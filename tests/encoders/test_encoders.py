"""Encoders agree with their references, pooling with naive loops,
and the cache never gives a wrong vector.
"""

import hashlib
import http.server
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_lib import encoders
from recsys_lib.core.errors import InputError
from recsys_lib.data import assets
from recsys_lib.encoders import cache
from recsys_lib.encoders.pooling import pool
from recsys_lib.vectors import similarity

ROOT = Path(__file__).resolve().parent.parent.parent
TEXTS = [
    "The Usual Suspects (1995). Crime, Thriller", "Toy Story", "", " ", "喜欢阅读科幻小说", "Grüße aus Köln",
    "👩‍🔬 science", "a",
    "word " * 400, "tab\tnew\nline", "\x00\x01 control", "Gödel, Escher, Bach", "1234567890", "!!!",
    "Toy Story",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random BERT and a random Llama of two layers, as local folders with MiniLM's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

    from recsys_lib.core.quiet import quiet

    torch.manual_seed(0)
    size = {
        "vocab_size": 30522,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    folders = {}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(assets.locate("minilm"))
        for name, model in (
            ("bert", BertModel(BertConfig(**size))),
            ("llama", LlamaForCausalLM(LlamaConfig(**size))),
        ):
            folders[name] = tmp_path_factory.mktemp(name)
            model.save_pretrained(folders[name])
            tokenizer.save_pretrained(folders[name])
    return {name: str(folder) for name, folder in folders.items()}


# ---------------------------------------------------------------- agreement


def test_minilm_agrees_with_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(assets.locate("minilm")), device="cpu")
    theirs = reference.encode(TEXTS, show_progress_bar=False)
    ours = encoders.load("minilm", precision="float32", cache=False).encode(TEXTS)
    assert ours.dtype == np.float32
    assert np.diag(similarity.cosine(ours, theirs)).min() >= 0.99999


def test_bfloat16_is_near_float32():
    ours = [encoders.load("minilm", precision=p, cache=False).encode(TEXTS) for p in ("float32", "bfloat16")]
    assert np.diag(similarity.cosine(*ours)).min() > 0.99


@pytest.mark.parametrize("model", ["bert", "llama"])
def test_a_vector_depends_on_its_text_only(tiny, model):
    whole = encoders.load(tiny[model], precision="float32", cache=False).encode(TEXTS)
    assert whole.shape == (len(TEXTS), 32)
    assert np.isfinite(whole).all()
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for budget in (1, 64, 4096):
        encoder = encoders.load(tiny[model], precision="float32", cache=False, token_budget=budget)
        assert np.allclose(encoder.encode([TEXTS[i] for i in order]), whole[order], atol=1e-5)


def test_static_vectors_against_a_naive_loop():
    encoder = encoders.load("wordllama")
    tokenizer = encoder._tokenizer
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        expected = encoder.table[ids].mean(0) if ids else np.zeros(256)
        assert np.allclose(vector, expected, atol=1e-5), text


def test_tfidf_and_genres():
    corpus = ["Crime, Drama", "Drama", "", "Sci-Fi, Crime"]
    genres = encoders.load("genres", corpus=corpus)
    assert genres.labels == ["Crime", "Drama", "Sci-Fi"]
    assert genres.encode(["Sci-Fi, Drama", "", "Musical"]).tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    tfidf = encoders.load("tfidf", corpus=["red apple", "red car", "中文 书"])
    vectors = tfidf.encode(["red apple", "unknown words", "中文"])
    assert vectors.dtype == np.float32 and vectors.shape == (3, tfidf.dimension)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1])
    assert (
        vectors[0, tfidf.vectorizer.vocabulary_["apple"]]
        > vectors[0, tfidf.vectorizer.vocabulary_["red"]]
        > 0
    )


# ---------------------------------------------------------------- pooling


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 1), min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["mean", "last", "weighted", "cls"]),
)
def test_pooling_against_a_naive_loop(masks, kind):
    hidden = torch.randn(len(masks), 5, 3, generator=torch.Generator().manual_seed(0))
    pooled = pool(kind, hidden, torch.tensor(masks))
    for row, mask in enumerate(masks):
        at = [t for t, m in enumerate(mask) if m]
        h = hidden[row]
        if not at:
            expected = torch.zeros(3)
        elif kind == "mean":
            expected = h[at].mean(0)
        elif kind == "weighted":
            expected = sum((n + 1) * h[t] for n, t in enumerate(at)) / sum(range(1, len(at) + 1))
        else:
            expected = h[at[-1] if kind == "last" else at[0]]
        assert torch.allclose(pooled[row], expected, atol=1e-6)


def test_echo_pools_the_second_copy_and_only_that():
    encoder = encoders.load("smollm2", pooling="echo", precision="float32", cache=False)
    (ids, begin), *_ = encoder.tokenize(["Alien (1979)", "x"])
    copy = encoder.tokenizer("Alien (1979)", add_special_tokens=False)["input_ids"]
    assert ids[begin:] == copy
    assert ids[:begin].count(copy[0]) >= 1
    with torch.inference_mode():
        hidden = encoder.model(torch.tensor([ids])).last_hidden_state[0, begin:].mean(0)
    assert np.allclose(encoder.encode(["Alien (1979)"])[0], hidden.numpy(), atol=1e-4)


def test_poolings_differ_and_only_the_prefix_of_e5_is_there():
    by = {
        p: encoders.load("smollm2", pooling=p, precision="float32", cache=False).encode(["Alien (1979)"])
        for p in ("mean", "last", "weighted")
    }
    assert not np.allclose(by["mean"], by["last"], atol=1e-2)
    e5 = encoders.load("e5", precision="float32")
    assert e5.prefix == "query: "
    assert e5.tokens("Köln")[:4] == ["<s>", "▁que", "ry", ":"]
    assert encoders.load("minilm", precision="float32").prefix == ""


def test_layers_end_in_the_vector(tiny):
    encoder = encoders.load(tiny["bert"], precision="float32", cache=False)
    layers = encoder.layers("Toy Story")
    assert layers.shape == (3, 4, 32)
    assert np.allclose(layers[-1].mean(0), encoder.encode(["Toy Story"])[0], atol=1e-5)
    assert encoder.tokens("Toy Story") == ["[CLS]", "toy", "story", "[SEP]"]
    assert encoder.n_parameters > 30522 * 32


# ---------------------------------------------------------------- the cache


def test_known_texts_need_no_model(tiny, own_cache, monkeypatch):
    first = encoders.load(tiny["bert"], precision="float32").encode(TEXTS)
    monkeypatch.setattr(
        "recsys_lib.encoders.transformer.Transformer._encode", lambda *a: pytest.fail("encoded again")
    )
    again = encoders.load(tiny["bert"], precision="float32")
    assert np.array_equal(again.encode(TEXTS[::-1]), first[::-1])
    assert "model" not in again.__dict__


def test_other_options_have_vectors_of_their_own(tiny, own_cache):
    made = {
        (pooling, prefix, limit): encoders.load(tiny["bert"], precision="float32", pooling=pooling,
        prefix=prefix, max_tokens=limit).encode(["Toy Story by night"])
        for pooling in ("mean", "last") for prefix in ("", "query: ") for limit in (4, 64)
    }  # fmt: skip
    vectors = np.vstack(list(made.values()))
    assert len(np.unique(vectors.round(5), axis=0)) == 8
    assert len(list((own_cache / "vectors").glob("*.sqlite"))) == 8


def test_other_weights_have_vectors_of_their_own(tiny, own_cache, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(tiny["bert"], folder)
    before = encoders.load(str(folder), precision="float32").encode(["x"])
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v * 1.5 for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    assert not np.allclose(before, encoders.load(str(folder), precision="float32").encode(["x"]))


def numbered(chunk):
    return np.array([[float(t)] * 2 for t in chunk], dtype=np.float32)


def test_an_interruption_keeps_the_chunks_that_were_done(own_cache, monkeypatch):
    monkeypatch.setattr(cache, "CHUNK", 10)
    texts = [str(i) for i in range(45)]
    asked = []

    def encode(chunk):
        asked.extend(chunk)
        if len(asked) > 25:
            raise KeyboardInterrupt
        return numbered(chunk)

    with pytest.raises(KeyboardInterrupt):
        cache.encode_cached(texts, {"model": "m"}, 2, encode)
    done = set(asked[:20])
    asked.clear()
    vectors = cache.encode_cached(texts, {"model": "m"}, 2, lambda c: (asked.extend(c), numbered(c))[1])
    assert vectors[:, 0].tolist() == list(range(45))
    assert set(asked) == set(texts) - done


def test_equal_texts_are_encoded_once(own_cache):
    asked = []
    vectors = cache.encode_cached(
        ["1", "2", "1", "1"], {"model": "m"}, 2, lambda c: (asked.extend(c), numbered(c))[1]
    )
    assert sorted(asked) == ["1", "2"]
    assert vectors[:, 0].tolist() == [1, 2, 1, 1]
    assert cache.encode_cached([], {"model": "m"}, 2, pytest.fail).shape == (0, 2)


def test_a_damaged_file_is_made_anew(own_cache):
    options = {"model": "m"}
    cache.encode_cached(["1"], options, 2, numbered)
    (path,) = (own_cache / "vectors").glob("*.sqlite")
    for extra in (own_cache / "vectors").glob("*.sqlite-*"):
        extra.unlink()
    path.write_bytes(b"this is no database, and it is long enough to be noticed" * 50)
    assert cache.encode_cached(["1", "2"], options, 2, numbered)[:, 0].tolist() == [1, 2]
    assert cache.encode_cached(["1", "2"], options, 2, pytest.fail)[:, 0].tolist() == [1, 2]


def test_a_vector_of_another_length_is_not_used(own_cache):
    cache.encode_cached(["1"], {"model": "m"}, 2, numbered)
    three = cache.encode_cached(["1"], {"model": "m"}, 3, lambda c: np.full((len(c), 3), 7, np.float32))
    assert three.tolist() == [[7, 7, 7]]


def test_an_unusable_cache_costs_a_warning_not_an_answer(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not writable"):
        assert cache.encode_cached(["1"], {"model": "m"}, 2, numbered)[0, 0] == 1


def test_a_read_only_cache_is_read(own_cache, monkeypatch):
    cache.encode_cached(["1"], {"model": "m"}, 2, numbered)
    before = {p.name: p.read_bytes() for p in (own_cache / "vectors").iterdir()}
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache.encode_cached(["1"], {"model": "m"}, 2, pytest.fail)[0, 0] == 1
    with pytest.warns(UserWarning, match=r"could not be written .*readonly"):
        assert cache.encode_cached(["1", "2"], {"model": "m"}, 2, numbered)[:, 0].tolist() == [1, 2]
    assert {p.name: p.read_bytes() for p in (own_cache / "vectors").iterdir()} == before


def test_a_full_disk_while_writing_costs_a_warning_not_an_answer(own_cache, monkeypatch):
    class Full:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            return False

        def executemany(self, *args):
            raise sqlite3.OperationalError("database or disk is full")

    connect = cache._connect
    monkeypatch.setattr(cache, "_connect", lambda path: Full(connect(path)))
    with pytest.warns(UserWarning, match="disk is full"):
        assert cache.encode_cached(["1"], {"model": "m"}, 2, numbered)[0, 0] == 1


def test_two_processes_share_one_cache_and_a_kill_spoils_nothing(own_cache):
    program = (
        "import numpy as np, time, sys\nfrom recsys_lib.encoders import cache\ncache.CHUNK = 5\n"
        "def slow(c):\n    time.sleep(0.02)\n    return np.array([[float(t)] * 2 for t in c], "
        "dtype=np.float32)\n"
        "v = cache.encode_cached([str(i) for i in range(300)], {'model': 'm'}, 2, slow)\n"
        "assert v[:, 0].tolist() == list(range(300))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, start_new_session=True) for _ in range(3)
    ]
    time.sleep(1.0)
    os.killpg(processes[0].pid, signal.SIGKILL)
    assert [p.wait(60) for p in processes[1:]] == [0, 0]
    texts = [str(i) for i in range(300)]
    assert cache.encode_cached(texts, {"model": "m"}, 2, pytest.fail)[:, 0].tolist() == list(range(300))


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
    ("minilmm", {}, "want one of minilm"),
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
