"""What do vectors, lists and fitted models give away, and which defence helps at what price.

Attacks, each with a stated adversary and a baseline that sees nothing: ``reconstruction`` of a history from a
user's vector, ``membership`` of a user in the training data, ``attributes`` of a person, ``inversion`` of a
text's vector, ``list_attacks`` on recommendation lists, ``update_attacks`` on what devices send in training,
``weight_attacks`` on an encoder's weights. Defences: ``releases`` of a user's vector,
``private_ease``, clipped and noisy rounds of ``federated`` training, ``deletion`` of a user; ``accountant``
says what noise guarantees.
"""
