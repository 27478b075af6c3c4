"""Top-k over quantized vectors: approximate, rescored in float32, or exact with a certificate.

``Index.build(quantized, rows).exact_top_k(queries, k)`` returns what ``similarity.top_k(queries, rows, k)``
returns, ids and scores, while it reads the codes of all vectors but the float32 rows of only a few. A code
``v̂`` of a vector ``v`` comes with a bound ``e >= |v - v̂|``, so by Cauchy and Schwarz ``q·v̂ - |q|e <= q·v
<= q·v̂ + |q|e``: whatever lies above the k-th best lower bound may belong to the best ``k`` and is scored in
float32, the rest cannot.
"""

from __future__ import annotations

from recsys_lib.vectors.search.index import Index
from recsys_lib.vectors.search.query import Found

__all__ = ["Found", "Index"]
