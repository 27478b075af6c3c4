"""The rules for notebooks hold for every committed one, and each rule and comparison is able to fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from numeric_text import same_text

from recsys_lib.experiments.notebooks import mark_executed, source_hash
from recsys_lib.reporting.site.rendering import figures_of

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_meets_the_rules(path):
    assert notebook_rules.problems(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_between_files_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "markdown":
            continue
        for target in re.findall(r"\]\((?!https?:|#|mailto:|attachment:)([^)#\s]+)", cell.source):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_readme_names_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in NOTEBOOKS if p.name not in readme] == []


def test_every_committed_figure_is_saved_by_its_notebook():
    saved = {
        name
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        for name in (figures_of(cell.source) if cell.cell_type == "code" else [])
        if name[:2] == path.stem[:2]
    }
    assert [p.stem for p in sorted((ROOT / "figures").glob("*.png")) if p.stem not in saved] == []


def good_notebook():
    """A small notebook that meets every rule, to be spoilt in one way at a time."""
    stream = new_output("stream", name="stdout", text="recall 0.2153\n")
    cells = [
        new_markdown_cell("# A question"),
        new_code_cell("k = 10  # cut", execution_count=1, metadata={"tags": ["parameters"]}),
        new_markdown_cell("Then the number."),
        new_code_cell("print('recall', 0.2153)", execution_count=2, outputs=[stream]),
        new_markdown_cell("## Takeaways"),
        new_code_cell("record = dict\n_ = record(k=k)", execution_count=3),
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": {"name": "python"}})


def write(notebook, folder):
    path = folder / "99_sample.ipynb"
    nbformat.write(notebook, path)
    return path


def spoil_stripped(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def spoil_outputs(nb):
    nb.cells[3].outputs = []


def spoil_order(nb):
    nb.cells[1].execution_count, nb.cells[3].execution_count = 2, 1


def spoil_tag(nb):
    nb.cells[3].metadata["tags"] = ["nbval-ignore-outputs"]


def spoil_parameters_tag(nb):
    nb.cells[1].metadata["tags"] = ["parameter"]


def spoil_marker(nb):
    nb.cells[3].source = "# NBVAL_IGNORE_OUTPUT because\n" + nb.cells[3].source


def spoil_long_cell(nb):
    nb.cells[3].source += "\nx = 1" * 15


def spoil_function(nb):
    nb.cells[3].source += "\ndef f(): pass"


def spoil_long_line(nb):
    nb.cells[3].source += "\nx = " + " + ".join(["1"] * 40)


def spoil_asserted_time(nb):
    nb.cells[3].source += "\nassert timed['ours'].throughput > 20 * timed['theirs'].throughput"


def spoil_asserted_column(nb):
    nb.cells[3].source += "\nassert (costs['fit s'] < 300).all()"


def spoil_edited(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.metadata["executed"] = source_hash(cell.source)
    nb.cells[3].source += "  # edited"


def spoil_expression(nb):
    nb.cells[1].source = "k = 5 + len('x')  # cut"


def spoil_path(nb):
    nb.cells[3].outputs[0].text = "/home/" + "someone/data"


def spoil_stderr(nb):
    nb.cells[3].outputs[0].name = "stderr"


def spoil_error(nb):
    nb.cells[3].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


def spoil_record(nb):
    nb.cells[5].source = "pass"


def spoil_number_of_cells(nb):
    nb.cells[3:3] = [new_markdown_cell("More.") for _ in range(notebook_rules.MOST_CELLS)]


def spoil_metadata(nb):
    nb.metadata["papermill"] = {"duration": 3}


def spoil_takeaways(nb):
    nb.cells[4].source = "The end"


SPOILERS = [value for name, value in list(globals().items()) if name.startswith("spoil_")]


def test_the_good_sample_is_good(tmp_path):
    assert notebook_rules.problems(write(good_notebook(), tmp_path)) == []


def test_an_executed_notebook_is_good_until_a_cell_is_edited(tmp_path):
    assert notebook_rules.problems(write(mark_executed(good_notebook()), tmp_path)) == []


TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda p: p.stem)
def test_no_test_asserts_what_a_clock_says(path):
    clocks = re.compile(r"perf_counter|process_time|monotonic|time\.time\(")
    asserted = [
        text
        for text in notebook_rules.asserted_times(path.read_text(encoding="utf-8"))
        if clocks.search(text)
    ]
    assert asserted == []


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__[6:])
def test_each_rule_can_fail(spoil, tmp_path):
    notebook = good_notebook()
    spoil(notebook)
    assert len(notebook_rules.problems(write(notebook, tmp_path))) > 0


def nbval(folder):
    """The words of nbval on every notebook of a folder, one line per cell:
    PASSED or FAILED, file and cell.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--nbval"]
    command += ["--nbval-current-env", f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml")]
    # The sample lies outside the repository, so its conftest is named explicitly; it is then imported before
    # pytest adds the folder of tests.
    command += ["-p", "conftest", "-rA", str(folder)]
    places = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    ).stdout


def test_nbval_sees_a_changed_number(tmp_path):
    passes = {"0.2153": True, "0.21538": False, "0.2154": True, "0.2253": False}
    for place, printed in enumerate(passes):  # one notebook each, one start of pytest for all
        notebook = good_notebook()
        notebook.cells[3].outputs[0].text = f"recall {printed}\n"
        nbformat.write(notebook, tmp_path / f"9{place}_sample.ipynb")
    said = nbval(tmp_path)
    for place, passed in enumerate(passes.values()):
        cells = {
            cell: word
            for word, cell in re.findall(rf"^(\w+) \S*9{place}_sample\.ipynb::Cell (\d)", said, re.M)
        }
        assert cells == {"0": "PASSED", "1": "PASSED" if passed else "FAILED", "2": "PASSED"}, said[-2000:]


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("P@10 0.3293", "P@10 0.3294", True),
        ("P@10 0.3293", "P@10 0.3296", False),
        ("R@10 0.3293", "P@10 0.3293", False),
        ("0.00", "0.01", False),
        ("0.01", "0.02", False),
        ("943 users", "944 users", False),
        ("1,682 items", "1,682 items", True),
        ("1,682.5", "1,682.6", True),
        ("1.20e-07", "1.21e-07", True),
        ("1.20e-07", "1.20e-06", False),
        ("-0.52", "0.52", False),
        ("0.5 0.6", "0.5", False),
        ("12345.678", "12346.5", True),
        ("12345.678", "12348.0", False),
        ("nan", "0.5", False),
        ("minilm-l6 0.5", "minilm-l7 0.5", False),
    ],
)
def test_numbers_are_compared_with_a_tolerance_that_can_fail(expected, found, same):
    assert same_text(expected, found) == same
