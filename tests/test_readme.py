"""The documents tell the truth: their commands parse, their Python names exist, their links lead somewhere."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

import lightkern as lk
from lightkern.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md", "bench/arm/README.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("csrc/kernels/**/README.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/figures/*/README.md"))),
    *("lightkern/demo/README.md", "lightkern/importers/README.md"),
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Contents of the fenced blocks of a language; "" is a block without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", read(name), re.MULTILINE | re.DOTALL)
    return [text for kind, text in fenced if kind == language]


def shell_commands() -> list[str]:
    """Every `lightkern ...` of the README's shell blocks and inline code."""
    text = "\n".join(blocks("README.md", "")) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", read("README.md")))
    return sorted({match.strip() for match in re.findall(r"\blightkern (?:[a-z]+)(?: [^#&|\n]*)?", text)})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_paths_exist(document: str) -> None:
    folder = (ROOT / document).parent
    for target in re.findall(r"\]\(([^)#]+)\)", read(document)):
        if not target.startswith("https://"):
            assert (folder / target).exists(), f"{document} links to {target}"


def files_of_tables(document: str) -> set[str]:
    """Names of files in the first cells of a document's tables."""
    cells = re.findall(r"^\| ([^|]+) \|", read(document), re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`([\w./-]+)`", cell)}
    return {name for name in names if re.search(r"\.(?:h|cc|c|inc|py|lk|npz)$", name)}


WITH_TABLES = [name for name in DOCUMENTS if files_of_tables(name)]


@pytest.mark.parametrize("document", WITH_TABLES)
def test_files_named_in_tables_exist(document: str) -> None:
    for name in files_of_tables(document):
        assert ((ROOT / document).parent / name).exists(), f"{document} names {name}"


@pytest.mark.parametrize("document", [name for name in WITH_TABLES if name.startswith("csrc/kernels/")])
def test_every_file_beside_a_table_of_files_is_in_it(document: str) -> None:
    beside = {path.name for path in (ROOT / document).parent.iterdir() if path.suffix in (".h", ".cc", ".inc")}
    assert beside <= files_of_tables(document)


def test_paths_named_in_contributing_exist() -> None:
    text = read("CONTRIBUTING.md")
    for path in re.findall(r"(?:csrc|lightkern|tests|cmake|bench|examples)/[\w./-]*[\w/](?![\w<])", text):
        assert (ROOT / path).exists(), f"CONTRIBUTING.md names {path}"


def test_the_readme_shows_enough_commands() -> None:
    assert len(shell_commands()) >= 7


@pytest.mark.parametrize("line", shell_commands())
def test_commands_of_the_readme_parse(line: str) -> None:
    """Every sub-command and every option is one that exists; files are not opened."""
    _, name, *args = shlex.split(line)
    command = app.commands[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in args:
        if word.startswith("-"):
            assert word in known, f"{line}: {name} has no option {word}"
    wanted = [p for p in command.params if isinstance(p, click.Argument) and p.required]
    if args:
        assert len([word for word in args if not word.startswith("-")]) >= len(wanted)


def test_python_of_the_readme_uses_names_that_exist() -> None:
    code = "\n".join(blocks("README.md", "python"))
    used = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            names = ast.unparse(node).split(".")
            if names[0] == "lk":
                used.add(".".join(names[1:]))
            elif names[0] in ("model", "session"):
                used.add(f"{names[0].capitalize()}.{names[1]}")
    assert {"load_onnx", "compress", "Session", "Model.save", "Session.run"} <= used
    for name in used:
        target: object = lk
        for part in name.split("."):
            target = getattr(target, part)


def test_extras_of_the_readme_exist() -> None:
    text = read("README.md")
    for extra in re.findall(r"\.\[(\w+)\]", text):
        assert f"\n{extra} = [" in read("pyproject.toml")
