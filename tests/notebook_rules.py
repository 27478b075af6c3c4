"""The rules a committed notebook must meet; each returns what is wrong, in words."""

import ast
import re
from pathlib import Path

import nbformat

from recsys_lib.experiments.notebooks import EXECUTED, source_hash

TAGS = {"parameters", "nbval-ignore-output", "nbval-skip", "nbval-raises-exception"}
LONGEST_CELL, LEAST_PROSE, LARGEST_BYTES = 15, 0.35, 1_000_000
LONGEST_LINE = 110
MOST_CELLS = 30
# A name, attribute or column that holds a time or a speed: what a busy machine changes.
TIMING = re.compile(
    r"throughput|per_s$|per_second|seconds|latency|elapsed|speedup|^p50$|^p9\d$|(^|_)ms$|(^| )ms( |$)"
    r"|(^| )(fit|per) s$|perf_counter|process_time|monotonic|^time( |$)",
    re.IGNORECASE,
)
# A path of somebody's machine, in a source or an output.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|Users|tmp|work|var|opt)/[\w.-]+/")


def problems(path: Path) -> list[str]:
    """Everything that keeps ``path`` from being a notebook of this repository; empty for a good one."""
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    found = [] if path.stat().st_size < LARGEST_BYTES else [f"larger than {LARGEST_BYTES:,} bytes"]
    found += _execution(code) + _tags(notebook.cells) + _shape(notebook.cells, code) + _parameters(code)
    found += _lines(code) + _asserted_times(code) + _stale(code)
    if len(notebook.cells) > MOST_CELLS:
        found.append(f"{len(notebook.cells)} cells, expected at most {MOST_CELLS}")
    text = "\n".join(str(c) for c in notebook.cells)
    found += [f"holds a machine's path: {m}" for m in sorted(set(MACHINE_PATH.findall(text)))]
    found += [
        f"volatile metadata: {k}" for k in notebook.metadata if k not in ("kernelspec", "language_info")
    ]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    return found


def _execution(code: list) -> list[str]:
    counts = [c.execution_count for c in code]
    if None in counts:
        return [f"{counts.count(None)} code cells were never executed"]
    found = (
        []
        if counts == list(range(1, len(counts) + 1))
        else [f"not executed once from top to bottom: {counts}"]
    )
    outputs = [o for c in code for o in c.outputs]
    if code and not outputs:
        found.append("its outputs were stripped")
    found += [f"an error output: {o.ename}" for o in outputs if o.output_type == "error"]
    found += [
        f"something on stderr: {o.text.strip().splitlines()[0]}"
        for o in outputs
        if o.output_type == "stream" and o.name == "stderr" and o.text.strip()
    ]
    return found


def _tags(cells: list) -> list[str]:
    found = [f"unknown tag {t!r}" for c in cells for t in c.metadata.get("tags", []) if t not in TAGS]
    # nbval also reads markers from comments, and silently ignores one with anything after it.
    for c in cells:
        found += [
            f"marker in a comment, use a tag: {m}"
            for m in re.findall(r"#\s*(?:NBVAL|PYTEST)\w*", c.source, re.I)
        ]
    return found


def _shape(cells: list, code: list) -> list[str]:
    found = []
    for number, cell in enumerate(code, 1):
        lines = cell.source.splitlines()
        if len(lines) > LONGEST_CELL:
            found.append(f"code cell {number} has {len(lines)} lines, want at most {LONGEST_CELL}")
        tree = ast.parse(cell.source)
        if any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in ast.walk(tree)):
            found.append(f"code cell {number} defines a function or class: it belongs in recsys_lib")
    prose = sum(c.cell_type == "markdown" for c in cells) / max(1, len(cells))
    if prose < LEAST_PROSE:
        found.append(f"{prose:.0%} of its cells are prose, want {LEAST_PROSE:.0%}")
    if not cells or not re.search(r"^# ", cells[0].source, re.M):
        found.append("its first cell has no title")
    if "## Takeaways" not in "\n".join(c.source for c in cells if c.cell_type == "markdown"):
        found.append("it has no Takeaways")
    return found


def _lines(code: list) -> list[str]:
    long = [line for c in code for line in c.source.splitlines() if len(line) > LONGEST_LINE]
    if not long:
        return []
    return [f"{len(long)} code lines over {LONGEST_LINE} characters: {long[0][:60]} …"]


def asserted_times(source: str) -> list[str]:
    """Assert statements that read a time, a speed or a clock: they fail on a busy machine.

    >>> asserted_times("assert timed.throughput > 20")
    ['assert timed.throughput > 20']
    >>> asserted_times("assert recall > 0.2")
    []
    """
    found = []
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Assert):
            parts = [
                getattr(n, "id", None) or getattr(n, "attr", None) or getattr(n, "value", None)
                for n in ast.walk(statement.test)
            ]
            if any(isinstance(part, str) and TIMING.search(part) for part in parts):
                found.append(ast.unparse(statement))
    return found


def _asserted_times(code: list) -> list[str]:
    return [f"asserts a time or a speed: {text}" for c in code for text in asserted_times(c.source)]


def _stale(code: list) -> list[str]:
    """Cells edited after their execution: ``run --in-place`` leaves a hash of the source in every cell it
    executed.
    """
    marks = [c.metadata.get(EXECUTED) for c in code]
    if not any(marks):
        return []
    stale = [
        n for n, (c, mark) in enumerate(zip(code, marks, strict=True), 1) if mark != source_hash(c.source)
    ]
    return [
        f"code cells {stale} were edited after they were executed: python -m recsys_lib run --in-place"
    ] * bool(stale)


def _parameters(code: list) -> list[str]:
    tagged = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells tagged parameters, want 1"]
    found = []
    for node in ast.parse(tagged[0].source).body:
        if not isinstance(node, ast.Assign):
            found.append("the parameters cell holds more than assignments")
            continue
        try:
            ast.literal_eval(node.value)
        except ValueError:
            found.append(f"a parameter is not a literal: {ast.unparse(node)}")
        if "#" not in tagged[0].source.splitlines()[node.lineno - 1]:
            found.append(f"a parameter without a comment: {ast.unparse(node)}")
    if not code or "record(" not in code[-1].source:
        found.append("its last code cell does not write the record")
    return found
