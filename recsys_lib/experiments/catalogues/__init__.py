"""The study over catalogues (notebook 13): where does text pay, how much of a long text, for whom, at what
size?
"""
