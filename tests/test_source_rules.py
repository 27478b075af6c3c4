"""Sizes that keep the code readable: no file over 450 lines, no function over 50; ruff holds lines to 110."""

import ast
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE, MAX_FUNCTION = 450, 50
# Names that Python, pytest and their tools give a meaning in every folder.
COMMON_NAMES = {"__init__.py", "conftest.py"}


def sources(*patterns):
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    files = [ROOT / name for name in found if name and (ROOT / name).is_file()]
    if not files:
        pytest.skip("not a git checkout")
    return files


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_450_lines():
    files = sources("*.py", "*.c", "*.h", "*.js", "*.css")
    counts = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert [name for name, n in counts.items() if n > MAX_FILE] == []


def test_no_function_is_longer_than_50_lines():
    long = set()
    for path in sources("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    long.add(f"{name_of(path)}: {node.name}")
    assert long == set()


@pytest.mark.parametrize("folder", ["tests", "recsys_lib"])
def test_no_two_files_share_a_name(folder):
    """A name that stands in two packages makes a newcomer open the wrong one."""
    counts = Counter(path.name for path in sources(f"{folder}/*.py") if path.name not in COMMON_NAMES)
    assert [name for name, n in counts.items() if n > 1] == []
