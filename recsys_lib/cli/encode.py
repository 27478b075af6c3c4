"""``encode``: the texts of a catalogue to vectors on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_lib.cli.arguments import Address, Engine, Workers, check_engine, check_output_file, choose
from recsys_lib.core.errors import InputError

FORMATS = ("npy", "parquet")


def encode(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A data set, a CSV file, or a text file with one text per line."
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where vectors.npy goes.")],
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A CSV column that holds text; repeatable (default: title)."),
    ] = None,
    encoder: Annotated[str, typer.Option(metavar="NAME", help="Default: minilm.")] = "minilm",
    precision: Annotated[str, typer.Option(metavar="NAME", help="float32, bfloat16, int8, ...")] = "auto",
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="native, torch, openvino, ... (default: auto, the fastest here)."),
    ] = "auto",
    engine: Engine = "local",
    workers: Workers = 0,
    address: Address = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="With --engine ray: files of shards, npy (default) or parquet."
        ),
    ] = None,
) -> int:
    """Encode a catalogue of any size to disk; a killed run continues where it was.

    Example: python -m recsys_lib encode items.csv vectors --column title --column genres
    """
    columns = tuple(column or ("title",))
    options = _options(encoder, precision, backend)
    with_ray = check_engine(engine, workers, address)
    if form is not None and choose(form, FORMATS, "format") and not with_ray:
        raise InputError(f"--format {form}: is for --engine ray; add it, or leave --format out")
    _check_source(source, columns)
    ray = (workers, address, form) if with_ray else None
    texts, cut = _encode(source, folder, columns, encoder, options, ray)
    if cut:
        print(
            f"{cut:,} of the {texts:,} texts ({cut / texts:.1%}) are longer than the encoder reads: truncated"
        )
    return 0


def _encode(
    source: str,
    folder: Path,
    columns: tuple[str, ...],
    encoder: str,
    options: dict[str, Any],
    ray: tuple[int, str | None, str | None] | None,
) -> tuple[int, int]:
    """Encode here, or with Ray's workers, address and form; how many texts there are, and how many the
    encoder cut.
    """
    from recsys_lib import encoders
    from recsys_lib.data import assets
    from recsys_lib.encoders.stream import encode_to_disk, truncated_texts

    if encoder == "wordllama":
        assets.locate(encoder)
    else:
        assets.resolve_model(encoder)
    check_output_file(folder / "vectors.npy")
    loaded = encoders.load(encoder, **options)
    if ray is None:
        print(encode_to_disk(loaded, source, folder, columns))
        return truncated_texts(loaded, source, columns)
    from recsys_lib.distributed.encode_on_cluster import encode_sharded

    workers, address, form = ray
    counts = encode_sharded(
        loaded, source, folder, columns, form=form or "npy", workers=workers, address=address
    )
    print(folder)
    return counts


def _options(encoder: str, precision: str, backend: str) -> dict[str, Any]:
    """What ``encoders.load`` takes, refused before a model is loaded.

    Raises:
        InputError: an unknown encoder, precision or backend, or two that exclude each other.
    """
    from recsys_lib.encoders import NAMES, backends

    trained = [name for name in NAMES if name not in ("tfidf", "genres")]
    if encoder in ("tfidf", "genres"):
        raise InputError(
            f"encoder {encoder!r} is fitted on a notebook's texts: expected one of {', '.join(trained)}"
        )
    precisions = list(dict.fromkeys(p for known in backends.PRECISIONS.values() for p in known))
    choose(precision, ["auto", *precisions], "precision")
    choose(backend, ["auto", *backends.PRECISIONS], "backend")
    if encoder == "wordllama":
        if (precision, backend) != ("auto", "auto"):
            given = f"--precision {precision}" if precision != "auto" else f"--backend {backend}"
            raise InputError(
                f"{given} with --encoder wordllama: a table of vectors has neither; leave it out"
            )
        return {}
    if "auto" not in (precision, backend) and precision not in backends.PRECISIONS[backend]:
        known = ", ".join(backends.PRECISIONS[backend])
        raise InputError(f"precision {precision!r}: backend {backend!r} has {known}; expected one of these")
    if "/" not in encoder and not Path(encoder).exists():
        choose(encoder, trained, "encoder")
    return {"precision": precision, "backend": backend, "cache": False}


def _check_source(source: str, columns: tuple[str, ...]) -> None:
    """Refuse a source without a first text, before a model is loaded."""
    from recsys_lib.data import datasets
    from recsys_lib.encoders.stream import texts_of

    if source not in datasets.NAMES and next(texts_of(source, columns), None) is None:
        raise InputError(f"{source}: holds no text; expected one text per line, or rows below a CSV header")
