"""A user's own catalogue: what is in the files, which method ranks it best, and what follows from that."""
