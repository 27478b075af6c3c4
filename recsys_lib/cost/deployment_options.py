"""The deployment options: what each does per request, which texts it encodes, and where its quality was
recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys_lib.core.errors import InputError
from recsys_lib.cost.workloads import ENCODERS

# The two serving patterns. Vectors ready: items are encoded when they come, a request only uses their
# vectors. Text encoded per request: a request brings text (a query, a description of the moment) that is
# encoded before anything else.
PATTERNS = ("vectors ready", "text encoded per request")


@dataclass(frozen=True)
class DeploymentOption:
    """One option.

    kind: collaborative, text, both or rerank. serves: workloads of a request, of lookup, dense rows, scan
    and scan cold items (none: a list that is ready). encoders: of item texts. fits: what is fitted anew at
    every refit: pairs, ease, map. reranker: key of ``workloads.RERANKERS``. pattern: one of ``PATTERNS``.
    nightly: the reranker orders the list of every user once a night. warm, cold: methods of the recorded
    studies whose NDCG@10 it has on items with and without interactions; empty: not measured.
    """

    name: str
    kind: str
    serves: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    reranker: str = ""
    pattern: str = PATTERNS[0]
    nightly: bool = False
    warm: str = ""
    cold: str = ""

    @property
    def dimensions(self) -> int:
        """Of the vectors that a request scans."""
        scans = any(work.startswith("scan") for work in self.serves)
        return sum(ENCODERS[name][1] for name in self.encoders) if scans else 0

    @property
    def one_list(self) -> bool:
        """Whether warm and cold items compete in one list; the other options give cold items a place of
        their own.
        """
        return self.warm.startswith("one list")

    @property
    def has_language_model(self) -> bool:
        """Whether a transformer reads texts, at whatever time."""
        return bool(self.reranker) or any(ENCODERS[name][0] for name in self.encoders)


def _reranked(name: str, reranker: str, measured: str = "", nightly: bool = False) -> DeploymentOption:
    """EASE with a map from MiniLM, whose first candidates are ordered anew."""
    return DeploymentOption(
        name,
        "rerank",
        () if nightly else ("lookup",),
        ("minilm",),
        ("pairs", "ease", "map"),
        reranker,
        nightly=nightly,
        warm=measured,
        cold=measured,
    )


_MAPPED = ("pairs", "ease", "map")
OPTIONS: tuple[DeploymentOption, ...] = (
    DeploymentOption("popularity", "collaborative", warm="popularity", cold="chance"),
    DeploymentOption("ItemKNN", "collaborative", ("lookup",), fits=("pairs",), warm="ItemKNN", cold="chance"),
    DeploymentOption(
        "EASE", "collaborative", ("dense rows",), fits=("pairs", "ease"), warm="EASE", cold="chance"
    ),
    DeploymentOption(
        "EASE top 200",
        "collaborative",
        ("lookup",),
        fits=("pairs", "ease"),
        warm="EASE top 200",
        cold="chance",
    ),
    DeploymentOption("static vectors", "text", ("scan",), ("wordllama",), warm="wordllama", cold="wordllama"),
    DeploymentOption("MiniLM", "text", ("scan",), ("minilm",), warm="minilm", cold="minilm"),
    DeploymentOption("MiniLM, text per request", "text", ("scan",), ("minilm",), pattern=PATTERNS[1]),
    DeploymentOption("8B encoder", "text", ("scan",), ("qwen3-8b",)),
    DeploymentOption(
        "ItemKNN + MiniLM",
        "both",
        ("lookup", "scan cold items"),
        ("minilm",),
        ("pairs",),
        warm="ItemKNN",
        cold="minilm",
    ),
    DeploymentOption(
        "EASE + TF-IDF and metadata map",
        "both",
        ("lookup",),
        ("tfidf",),
        _MAPPED,
        warm="EASE top 200",
        cold="TF-IDF and metadata map",
    ),
    DeploymentOption(
        "EASE + MiniLM map", "both", ("lookup",), ("minilm",), _MAPPED, warm="EASE top 200", cold="MiniLM map"
    ),
    DeploymentOption(
        "EASE + TF-IDF and metadata map, whole",
        "both",
        ("dense rows",),
        ("tfidf",),
        _MAPPED,
        warm="EASE",
        cold="TF-IDF and metadata map, whole",
    ),
    DeploymentOption(
        "EASE + MiniLM map, whole",
        "both",
        ("dense rows",),
        ("minilm",),
        _MAPPED,
        warm="EASE",
        cold="MiniLM map, whole",
    ),
    DeploymentOption(
        "EASE + all encoders and metadata map",
        "both",
        ("lookup",),
        ("tfidf", "wordllama", "minilm", "e5"),
        _MAPPED,
        warm="EASE top 200",
        cold="all encoders and metadata map",
    ),
    DeploymentOption(
        "EASE + all encoders and metadata map, whole",
        "both",
        ("dense rows",),
        ("tfidf", "wordllama", "minilm", "e5"),
        _MAPPED,
        warm="EASE",
        cold="all encoders and metadata map, whole",
    ),
    DeploymentOption(
        "one list, EASE top 200",
        "collaborative",
        ("lookup",),
        fits=("pairs", "ease"),
        warm="one list, EASE",
        cold="one list, EASE",
    ),
    DeploymentOption(
        "one list, EASE + MiniLM map",
        "both",
        ("lookup",),
        ("minilm",),
        _MAPPED,
        warm="one list",
        cold="one list",
    ),
    DeploymentOption(
        "one list, EASE + MiniLM map, calibrated",
        "both",
        ("lookup",),
        ("minilm",),
        _MAPPED,
        warm="one list, calibrated",
        cold="one list, calibrated",
    ),
    DeploymentOption(
        "one list, EASE + MiniLM map, 3 places for cold items",
        "both",
        ("lookup",),
        ("minilm",),
        _MAPPED,
        warm="one list, calibrated, 3 reserved",
        cold="one list, calibrated, 3 reserved",
    ),
    _reranked("cross-encoder reranks", "cross-encoder", "cross-encoder"),
    _reranked("135M LLM reranks, logits", "135M LLM, logits", "135M LLM"),
    _reranked("0.5B LLM reranks, logits", "0.5B LLM, logits", "0.5B LLM"),
    _reranked("8B LLM reranks, logits", "8B LLM, logits"),
    _reranked("8B LLM reranks, written list", "8B LLM, written list"),
    _reranked("8B LLM, lists made nightly", "8B LLM, logits", nightly=True),
)


def option(name: str) -> DeploymentOption:
    """The deployment option of that name.

    Raises:
        InputError: there is none.
    """
    for one in OPTIONS:
        if one.name == name:
            return one
    raise InputError(f"deployment option {name!r}: expected one of {', '.join(o.name for o in OPTIONS)}")
