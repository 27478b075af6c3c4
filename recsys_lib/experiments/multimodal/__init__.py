"""What each kind of knowledge about items is worth: text, knowledge graph, pictures, people's tags, metadata.

``blocks``: the kinds as vectors. ``knockout``: with and without each of them, and with it shuffled.
``joining_methods``: methods to join them. ``multimodal_study``: what is recorded.
"""
