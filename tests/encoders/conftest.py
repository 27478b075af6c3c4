"""Small random models that the tests of encoders share."""

import pytest
import torch

from recsys_lib.data import assets


@pytest.fixture(scope="session")
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
