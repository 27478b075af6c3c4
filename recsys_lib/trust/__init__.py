"""What vectors and lists give away, and why an item was recommended.

``explanations``: exact reasons, counterfactuals, faithfulness tests, attribution of text, reasons as
sentences. ``privacy``: attacks with a stated adversary, defences with an accountant, deletion of a user.
"""
