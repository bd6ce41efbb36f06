"""The wheel: installed into an empty environment, used from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "methods", "protocols", "results", "slurm")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The project's wheel, built from a copy of its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "measured")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=folder / "source", check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment_folder(wheel, tmp_path_factory):
    """An environment with the wheel and nothing else; its dependencies are read from the environment of the tests."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        pytest.skip("there is no uv to install the wheel with")
    folder = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def installed(environment_folder, tmp_path):
    """Runs a program of that environment from an empty folder."""

    def run(program, *words):
        command = [environment_folder / "bin" / program, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_every_file_that_is_read_at_run_time(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts and "measured" not in path.parts
    }
    assert files <= packed
    for suffix in (".py", ".toml", ".csv", ".html", ".css", ".typed"):
        assert any(name.endswith(suffix) for name in files), suffix
    assert not [name for name in packed if name.startswith(("results/measured/", "tests/"))]


@pytest.mark.slow
def test_the_installed_package_works_from_another_folder(installed, environment_folder, tmp_path):
    where = (
        "import bench, methods, protocols, results, slurm; print(bench.__file__, methods.__file__, results.__file__)"
    )
    for path in installed("python", "-c", where).split():
        assert Path(path).is_relative_to(environment_folder)
    version = installed("bench", "--version")
    assert installed("python", "-m", "bench", "--version") == version
    assert (
        installed("python", "-c", "from importlib.metadata import version as v; print('bench', v('ssl-bench'))")
        == version
    )
    assert "simclr" in installed("bench", "list", "methods")
    assert "quick" in installed("bench", "list", "protocols")
    grid = ["--datasets", "digits", "--views", "512", "--methods", "random", "--seeds", "0", "--evaluations", "knn"]
    assert "random" in installed("bench", "run", *grid)
    shutil.rmtree(tmp_path / "report")
    assert "random" in installed("bench", "report", "--published")
    assert "<html" in (tmp_path / "report" / "index.html").read_text()
    profiles = "from slurm.profile import PROFILES_FOLDER as f; print(*sorted(p.stem for p in f.glob('*.toml')))"
    assert installed("python", "-c", profiles).split() == sorted(
        p.stem for p in (ROOT / "slurm/profiles").glob("*.toml")
    )
