"""Reordering candidates with a language model: ``rerank(method, lists)`` gives scores and a count of the
work.

Methods: ``YesNo`` and ``TitleLikelihood`` (pointwise), ``AllPairs`` and ``HeapSort`` (pairwise, setwise),
``FirstToken`` and ``WrittenPermutation`` (listwise), ``CrossEncoder``.
"""

from recsys_lib.llm.rerank.comparisons import AllPairs, HeapSort
from recsys_lib.llm.rerank.cross_encoder import CrossEncoder
from recsys_lib.llm.rerank.listwise import FirstToken, WrittenPermutation
from recsys_lib.llm.rerank.pointwise import TitleLikelihood, YesNo
from recsys_lib.llm.rerank.reranker import Lists, Reranker, Usage, order, rerank

__all__ = [
    "AllPairs",
    "CrossEncoder",
    "FirstToken",
    "HeapSort",
    "Lists",
    "Reranker",
    "TitleLikelihood",
    "Usage",
    "WrittenPermutation",
    "YesNo",
    "order",
    "rerank",
]
