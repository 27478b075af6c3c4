"""The baseline: FastAPI as its tutorial shows it, over ``implicit``'s factors and faiss, or over
sentence-transformers and faiss.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from recsys_lib.data import datasets
from recsys_lib.data.assets import locate


class Ask(BaseModel):
    """As our service is asked."""

    user: str
    k: int = 10


class Item(BaseModel):
    """An item of a list."""

    id: str
    title: str
    score: float


class Text(BaseModel):
    """A text whose neighbours are asked for."""

    text: str
    k: int = 10


def factors() -> FastAPI:
    """Lists by ALS: the user's factors, exact search over the items' by faiss, seen items filtered."""
    import faiss
    from implicit.cpu.als import AlternatingLeastSquares

    data = datasets.load("ml-100k")
    matrix = data.matrix()
    model = AlternatingLeastSquares(factors=64, regularization=20.0, alpha=5.0, random_state=0)
    model.fit(matrix, show_progress=False)
    index = faiss.IndexFlatIP(model.item_factors.shape[1])
    index.add(np.ascontiguousarray(model.item_factors, dtype=np.float32))
    faiss.omp_set_num_threads(1)
    users = {identifier: place for place, identifier in enumerate(data.users["id"].astype(str))}
    ids, titles = data.items["id"].astype(str).tolist(), data.items["title"].tolist()
    app = FastAPI()

    @app.post("/recommend")
    def recommend(ask: Ask) -> list[Item]:
        user = users[ask.user]
        seen = set(matrix[user].indices.tolist())
        scores, found = index.search(model.user_factors[user : user + 1], ask.k + len(seen))
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        unseen = [(item, score) for item, score in pairs if item not in seen][: ask.k]
        return [Item(id=ids[item], title=titles[item], score=score) for item, score in unseen]

    return app


def texts() -> FastAPI:
    """Neighbours of a text by sentence-transformers and faiss."""
    import faiss
    from sentence_transformers import SentenceTransformer

    data = datasets.load("ml-100k")
    model = SentenceTransformer(str(locate("minilm")), device="cpu")
    vectors = model.encode(data.item_texts(), normalize_embeddings=True, show_progress_bar=False)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.omp_set_num_threads(1)
    ids, titles = data.items["id"].astype(str).tolist(), data.items["title"].tolist()
    app = FastAPI()

    @app.post("/similar")
    def similar(ask: Text) -> list[Item]:
        vector = model.encode([ask.text], normalize_embeddings=True, show_progress_bar=False)
        scores, found = index.search(np.asarray(vector, dtype=np.float32), ask.k)
        pairs = zip(found[0].tolist(), scores[0].tolist(), strict=True)
        return [Item(id=ids[item], title=titles[item], score=score) for item, score in pairs]

    return app


def main() -> None:
    """Serve the app that ``RECSYS_BASELINE`` names on a free port, which is printed."""
    import uvicorn

    from recsys_lib.serving.server import Address, listening

    apps: dict[str, Any] = {"factors": factors, "texts": texts}
    app = apps[os.environ["RECSYS_BASELINE"]]()
    with listening(Address("127.0.0.1", 0)) as bound:
        print(f"serving on http://127.0.0.1:{bound.getsockname()[1]}, 1 process", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[bound])


if __name__ == "__main__":
    main()
