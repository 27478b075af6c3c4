"""A tiny random BERT, texts and interactions that the tests of training share."""

import numpy as np
import scipy.sparse as sp
import torch
from tiny_models import byte_tokenizer
from transformers import BertConfig, BertModel

from recsys_lib.core.quiet import quiet
from recsys_lib.llm.finetune.batches import ItemBlocks
from recsys_lib.llm.finetune.objectives import Contrastive
from recsys_lib.llm.finetune.text_model import TextModel
from recsys_lib.llm.finetune.trainer import Settings, Trainer

WORDS = ["red", "blue", "house", "stars", "night", "garden", "king", "lost", "river", "secret"]
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 256,
}  # fmt: skip
TEXTS = [f"{WORDS[i % 10]} {WORDS[(3 * i + i // 10) % 10]} {i // 10}" for i in range(40)]


def tiny_bert(folder, seed=0, **shape):
    """Two layers of 32 with random weights and a tokenizer of bytes, as a folder that ``encoders.load``
    reads.
    """
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    options = SHAPE | shape
    config = BertConfig(vocab_size=len(tokenizer), initializer_range=0.2, **options)
    with quiet():
        BertModel(config, add_pooling_layer=False).eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def interactions(users=60, seed=0):
    """CSR ``[users, 40]``: a user likes two words, and half of the items whose text begins with them."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((users, len(TEXTS)), np.float32)
    for row in dense:
        liked = rng.permutation(10)[:2]
        row[[i for i in range(len(TEXTS)) if i % 10 in liked and rng.random() < 0.8]] = 1
        row[rng.integers(len(TEXTS), size=2)] = 1
    return sp.csr_matrix(dense)


def trainer_of(folder, workers=None, per_pass=64, trained="full", objective=None, size=12, repeat=1, **model):
    text_model = TextModel(folder, [" ".join([t] * repeat) for t in TEXTS], trained, **model)
    made = objective(text_model) if objective else Contrastive(text_model.dimension)
    settings = Settings(steps=8, learning_rate=1e-3, warmup=2, texts_per_pass=per_pass)
    return Trainer(text_model, ItemBlocks(interactions(), size), made, settings, workers)


def weights(trainer):
    return {name: p.detach().numpy().copy() for name, p in trainer.trained.items()}


def same(a, b, tolerance=0.0):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tolerance, err_msg=name)
