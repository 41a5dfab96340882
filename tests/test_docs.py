"""What README and docs tell people to type works: commands, keys, make targets, links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from fstriplets.cli.app import cli
from fstriplets.config import PipelineConfig, load_config
from fstriplets.resources import recipes

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
#: A comment in a recipe names commands too.
RECIPES = sorted((ROOT / "pipelines").glob("*.yaml"))

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`((?:fstriplets|make) [^`]+)`(?!`)")


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield text


def _typed(page: Path) -> Iterator[str]:
    """Command lines of a page: its shell blocks, and what it names in running text."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        blocks = ["\n".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))]
    else:
        blocks = list(_blocks(page, "bash", "sh", "console"))
        prose = FENCE.sub("", text)
        yield from (span for span in SPAN.findall(prose) if not re.search(r"[…\[<]", span))
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ")
            if command.startswith(("fstriplets ", "make ")):
                yield command


def _lines(tool: str) -> list[object]:
    return [
        pytest.param(line, id=f"{page.name}: {line[:60]}")
        for page in [*PAGES, *RECIPES]
        for line in dict.fromkeys(_typed(page))
        if line.startswith(tool + " ")
    ]


def _parse(arguments: list[str]) -> click.Context:
    """Parse a command line down to its last subcommand, running nothing. Groups have flags only."""
    command: click.Command = cli
    context = click.Context(cli, info_name="fstriplets")
    while isinstance(command, click.Group):
        arguments = [word for i, word in enumerate(arguments) if i or not word.startswith("-")]
        if not arguments:
            return context
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    return command.make_context(context.info_name, list(arguments), parent=context.parent)


def _names_a_command(words: list[str]) -> bool:
    """Whether the words are a command's name and nothing else: `train swap`."""
    command: click.Command | None = cli
    for word in words:
        command = (
            command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        )
    return command is not None


@pytest.mark.parametrize("line", _lines("fstriplets"))
def test_commands_parse(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    if {"--help", "--version"} & set(arguments):
        return
    try:
        context = _parse(arguments)
    except click.MissingParameter:
        assert _names_a_command(arguments), line  # `fstriplets build` in running text
        return
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise
        return  # a file of the reader's own
    if context.info_name == "build" and context.params["pipeline"] in recipes():
        settings = [item for item in context.params["settings"] if "my-" not in item]
        load_config(context.params["pipeline"], settings)


@pytest.mark.parametrize("line", _lines("make"))
def test_make_targets_exist(line: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {word for word in shlex.split(line, comments=True)[1:] if "=" not in word} <= targets


def test_there_are_commands_to_check() -> None:
    """Guards the tests above against a change of format that makes them check nothing."""
    assert len(_lines("fstriplets")) > 15
    assert len(_lines("make")) > 5


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+\s+(.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in _anchors(target), f"{page.name} links to {link}, a heading that is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_fragments_are_valid_recipes(page: Path) -> None:
    for block in _blocks(page, "yaml"):
        PipelineConfig.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile(page: Path) -> None:
    if page.name == "architecture.md":
        pytest.skip("its contracts are shorthand, not Python")
    for block in _blocks(page, "python"):
        compile(block, str(page), "exec")


def test_no_page_names_a_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/")
    for page in [*PAGES, *RECIPES]:
        assert not pattern.search(page.read_text(encoding="utf-8")), page
