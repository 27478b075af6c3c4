"""What the cache of compiled kernels loads, compiles again and refuses."""

import os
import stat
import subprocess
import sys
import warnings

import pytest

from recsys_lib.core.errors import InputError
from recsys_lib.kernels import compiler

pytestmark = pytest.mark.skipif(compiler.command() is None, reason="no C compiler")
FLAGS = ("-shared", "-fPIC")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path))
    path = tmp_path / "source" / "seven.c"
    path.parent.mkdir()
    path.write_text('#include "number.h"\nint number(void) { return NUMBER; }\n')
    path.with_name("number.h").write_text("#define NUMBER 7\n")
    return path


def libraries(tmp_path):
    return sorted((tmp_path / "cache" / "kernels").glob("*.so"))


def test_a_header_belongs_to_the_key(source, tmp_path):
    assert compiler.compiled(source, FLAGS).number() == 7
    source.with_name("number.h").write_text("#define NUMBER 8\n")
    assert compiler.compiled(source, FLAGS).number() == 8
    assert len(libraries(tmp_path)) == 2


def test_the_instruction_set_belongs_to_the_key(source, tmp_path, monkeypatch):
    for isa in ("native", "portable"):
        monkeypatch.setenv("RECSYS_ISA", isa)
        assert compiler.compiled(source, FLAGS).number() == 7
    assert len(libraries(tmp_path)) == 2


def test_machines_that_share_a_cache_share_what_they_can_both_run(source, tmp_path, monkeypatch):
    from recsys_lib.hardware import machine

    if compiler.ARM or "avx2" not in compiler.instruction_sets():
        pytest.skip("no AVX2")
    monkeypatch.delenv("RECSYS_ISA", raising=False)
    for name, flags in (("one", ["avx2"]), ("another", ["avx2", "bf16"]), ("old", [])):
        found = {"flags": flags, "processor": name}
        monkeypatch.setattr(machine, "describe", lambda found=found: found)
        assert compiler.instruction_set() == ("avx2" if flags else "portable")
        assert compiler.compiled(source, (*FLAGS, *compiler.isa_flags())).number() == 7
    assert len(libraries(tmp_path)) == 2


@pytest.mark.parametrize("isa", ["neon512", "AVX2", "avx2 "])
def test_an_unknown_instruction_set_is_told_in_one_line(isa, monkeypatch):
    monkeypatch.setenv("RECSYS_ISA", isa)
    with pytest.raises(InputError, match=r"^RECSYS_ISA='.*': expected one of native, .* on this processor$"):
        compiler.isa_flags()


def test_an_instruction_set_that_the_processor_lacks_is_refused(monkeypatch):
    from recsys_lib.hardware import machine

    monkeypatch.setattr(machine, "describe", lambda: {"flags": []})
    monkeypatch.setenv("RECSYS_ISA", "avx2")
    with pytest.raises(InputError, match="expected one of native, portable"):
        compiler.isa_flags()


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", None])
def test_a_damaged_library_is_compiled_again(source, tmp_path, damage):
    compiler.compiled(source, FLAGS)
    (library,) = libraries(tmp_path)
    content = library.read_bytes()
    library.unlink()  # this process has the old file mapped
    library.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert compiler.compiled(source, FLAGS).number() == 7
    assert all(compiler._checksum(path) == path.stem[-16:] for path in libraries(tmp_path))


def test_a_library_that_others_may_write_is_not_loaded(source, tmp_path):
    compiler.compiled(source, FLAGS)
    (library,) = libraries(tmp_path)
    library.chmod(0o777)
    before = library.stat().st_ino
    assert compiler.compiled(source, FLAGS).number() == 7
    (library,) = libraries(tmp_path)
    assert library.stat().st_ino != before or not library.stat().st_mode & 0o022


def test_a_folder_that_others_may_write_is_closed_to_them(source, tmp_path):
    folder = tmp_path / "cache" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    compiler.compiled(source, FLAGS)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_linked_or_foreign_folder_is_replaced_by_a_private_one(source, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(tmp_path / "elsewhere")
    assert compiler.compiled(source, FLAGS).number() == 7
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_cache_that_cannot_be_written_is_replaced_by_a_private_folder(source, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "file"))
    assert compiler.compiled(source, FLAGS).number() == 7
    (folder,) = tmp_path.glob("recsys-kernels-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_error_of_the_compiler_is_shown_and_leaves_nothing(source, tmp_path):
    source.write_text("int number(void) { return 7 }\n")
    with pytest.warns(RuntimeWarning, match=r"no compiled seven.c, a slower path is used: .*error"):
        assert compiler.compiled(source, FLAGS) is None
    assert not libraries(tmp_path)


def test_without_a_compiler_nothing_is_said(source, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiler.compiled(source, FLAGS) is None


def test_two_processes_at_once_compile_safely(source, tmp_path):
    code = (
        "import sys; from pathlib import Path; from recsys_lib.kernels import compiler; "
        f"assert compiler.compiled(Path(sys.argv[1]), {FLAGS}).number() == 7"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(source)], env=os.environ) for _ in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    assert all(compiler._checksum(path) == path.stem[-16:] for path in libraries(tmp_path))
