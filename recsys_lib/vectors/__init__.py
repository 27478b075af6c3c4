"""What can be done with vectors: similarity, geometry, quantization and search."""
