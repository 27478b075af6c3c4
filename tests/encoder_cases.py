"""Texts that the tests of encoders share."""

TEXTS = [
    "The Usual Suspects (1995). Crime, Thriller", "Toy Story", "", " ", "喜欢阅读科幻小说", "Grüße aus Köln",
    "👩‍🔬 science", "a",
    "word " * 400, "tab\tnew\nline", "\x00\x01 control", "Gödel, Escher, Bach", "1234567890", "!!!",
    "Toy Story",
]  # fmt: skip
WORDS = ["the", "red", "blue", "house", "of", "stars", "night", "garden", "king", "lost", "river", "secret"]
