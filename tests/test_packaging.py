"""What the distributions say about themselves agrees: versions, pins, licences, requirement files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYPROJECTS = sorted(
    path for pattern in ("", "eval/", "integrations/*/", "models/*/") for path in ROOT.glob(f"{pattern}pyproject.toml")
)


def project(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


def lines(name: str) -> list[str]:
    """The lines of a requirements file without comments."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for raw in text.splitlines() if (line := raw.partition("#")[0].strip())]


def normalised(requirement: str) -> str:
    """The name in a requirement, the way indexes compare names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


PROJECTS = {path: project(path) for path in PYPROJECTS}
OWN = {data["name"] for data in PROJECTS.values()}
each_distribution = pytest.mark.parametrize("path", PYPROJECTS, ids=lambda path: PROJECTS[path]["name"])


def test_all_versions_are_equal() -> None:
    assert len(PYPROJECTS) >= 5
    assert len({data["version"] for data in PROJECTS.values()}) == 1


@each_distribution
def test_distributions_pin_each_other_to_this_version(path: Path) -> None:
    data = PROJECTS[path]
    for requirement in data.get("dependencies", []):
        if normalised(requirement) in OWN:
            assert requirement == f"{normalised(requirement)}=={data['version']}"


@each_distribution
def test_versions_in_the_code_are_the_version(path: Path) -> None:
    packages = [init for init in path.parent.glob("*/__init__.py") if (init.parent / "py.typed").exists()]
    for init in packages:
        for version in re.findall(r'^__version__ = "(.+)"$', init.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert version == PROJECTS[path]["version"], init


@each_distribution
def test_every_dependency_is_pinned(path: Path) -> None:
    pinned = {normalised(line) for line in lines("constraints.txt")}
    assert {normalised(requirement) for requirement in PROJECTS[path].get("dependencies", [])} <= pinned | OWN


@each_distribution
def test_every_distribution_is_in_the_requirement_files(path: Path) -> None:
    folder = path.parent.relative_to(ROOT).as_posix()
    line = "-e ." if folder == "." else f"-e ./{folder}"
    assert line in lines("requirements.txt") + lines("requirements-dev.txt")


@each_distribution
def test_licence_texts(path: Path) -> None:
    text = (path.parent / "LICENSE").read_text(encoding="utf-8")
    if PROJECTS[path]["license"] == "Apache-2.0":
        assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")
    else:
        assert PROJECTS[path]["license"] == "CC-BY-SA-4.0"
        assert "https://creativecommons.org/licenses/by-sa/4.0/legalcode" in text


def test_constraints_are_plain_pins() -> None:
    """No addresses, no options, no build suffixes: they hold for whatever index the reader uses."""
    assert not [line for line in lines("constraints.txt") if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert "torch==2.13.0" in lines("constraints.txt")
