"""What a language model does besides encoding.

``language_model`` loads decoders; ``prompts`` writes what they read; ``packed_attention`` reads many prompts
over shared prefixes; ``rerank`` orders candidates; ``user_encoder`` turns histories into vectors; ``titles``
writes items under a trie; ``memorization`` and ``injection`` test what a model knows by heart and how titles
move it; ``perplexity``, ``weights`` and ``int8_linear`` are about fewer bits; ``llama_cpp_model`` and
``gguf_file`` run a decoder on llama.cpp.
"""
