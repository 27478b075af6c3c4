"""The C sources of the search and of the encoder, and how they are compiled and loaded."""
