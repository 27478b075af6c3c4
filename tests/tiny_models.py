"""Tiny decoders with random weights and a tokenizer of bytes, in the folders that transformers reads."""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from recsys_lib.core.quiet import quiet

CHAT = (
    "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|begin|>", "<|user|>", "<|end|>", "<|assistant|>"]
SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024,
}  # fmt: skip
KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}


def byte_tokenizer(chat=CHAT):
    """One token a byte: every word has several tokens, "Yes" has three."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.add_special_tokens({"additional_special_tokens": SPECIAL})
    fast.chat_template = chat
    return fast


def tiny_folder(folder, kind="llama", chat=CHAT, seed=0, **shape):
    """A model of ``kind`` in ``folder``; weights large enough that answers differ."""
    tokenizer = byte_tokenizer(chat)
    config_class, model_class = KINDS[kind]
    torch.manual_seed(seed)
    options = SHAPE | shape
    config = config_class(
        **options, vocab_size=len(tokenizer), initializer_range=0.3, tie_word_embeddings=True
    )
    with quiet():
        model_class(config).eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def tokens(n, seed=0):
    """``n`` random tokens of a byte."""
    return np.random.default_rng(seed).integers(0, 256, n).tolist()


def plain_logits(folder, ids):
    """Logits ``[tokens, vocabulary]`` of one sequence by transformers' own forward."""
    from transformers import AutoModelForCausalLM

    with quiet(), torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return model(torch.tensor([ids])).logits[0]
