"""The page of all modules, ``recsys_lib/README.md``: packages' questions and modules' first sentences."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from recsys_lib.core.errors import InputError
from recsys_lib.core.paths import ROOT

LIBRARY = ROOT / "recsys_lib"
PAGE = LIBRARY / "README.md"
OPENING = """# The packages of recsys_lib, module by module

Imports only point down this list, and `make check` holds that. Each line is the first sentence of the module.
"""


def questions(readme: str) -> dict[str, str]:
    """Package and question of every row of the table of packages in the text of ``README.md``.

    >>> questions("| `core` | What does everything stand on? |")
    {'core': 'What does everything stand on?'}
    """
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", readme, re.MULTILINE))


def first_sentence(path: Path) -> str:
    """What a module's docstring says first, on one line.

    Raises:
        InputError: a module without a docstring.
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise InputError(f"{path.name}: no docstring, expected a sentence that says what the module holds")
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z])", paragraph)[0].replace("``", "`")


def page() -> str:
    """The page as Markdown, packages in the order of README's table."""
    parts = [OPENING]
    for package, question in questions((ROOT / "README.md").read_text(encoding="utf-8")).items():
        parts.append(f"## {package}: {question}\n")
        folder = LIBRARY / package
        modules = [path for path in sorted(folder.rglob("*.py")) if path.name != "__init__.py"]
        parts += [f"* `{_name(path, folder)}`: {first_sentence(path)}" for path in modules]
        sources = sorted(folder.rglob("*.[ch]"))
        parts += [f"* `{_name(path, folder)}`: {_first_comment(path)}" for path in sources]
        parts.append("")
    return "\n".join(parts)


def _name(path: Path, folder: Path) -> str:
    """A file below its package as README's readers write it: modules without ``.py``."""
    inside = path.relative_to(folder)
    return str(inside.with_suffix("") if path.suffix == ".py" else inside)


def _first_comment(path: Path) -> str:
    """The first sentence of the comment that opens a C source.

    Raises:
        InputError: a source that opens with something else.
    """
    text = path.read_text(encoding="utf-8")
    block = re.match(r"\s*/\*(.*?)\*/", text, re.DOTALL) or re.match(r"((?://.*\n)+)", text)
    if not block:
        raise InputError(f"{path.name}: no opening comment, expected a sentence that says what it holds")
    lines = [re.sub(r"^\s*(//|\*)?\s*", "", line) for line in block[1].strip().splitlines()]
    paragraph = " ".join("\n".join(lines).split("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z])|: (?=\S+ \()", paragraph)[0]
