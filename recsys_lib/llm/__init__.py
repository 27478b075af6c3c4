"""What a language model does besides encoding: perplexity, and weights with fewer bits."""
