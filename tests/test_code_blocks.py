"""The code of README and of the first pages of the documentation runs as it stands."""

import re
import shutil
from pathlib import Path

import pytest
import torchvision
from typer.testing import CliRunner

from tbsclassify import make_texture_classifier
from tbsclassify.cli import app

ROOT = Path(__file__).parents[1]
# Of phantoms, a few are larger than the default crop.
pytestmark = pytest.mark.filterwarnings("ignore:.*crops cut off a part")
PAGES = ["README.md", "docs/index.rst", "docs/getting_started.rst"]


def fenced(text):
    """Return blocks of Markdown as pairs of language and code."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)


def indented(text):
    """Return blocks of reStructuredText as pairs of language and code."""
    pattern = (
        r"^(?:\.\. code-block:: (\w+)|(?!\.\.).*::)\n\n((?:(?:   .*)?\n)+?)(?=\S|\Z)"
    )
    for language, code in re.findall(pattern, text, re.M):
        lines = code.rstrip().split("\n")
        indent = min(len(line) - len(line.lstrip()) for line in lines if line)
        yield language or "python", "\n".join(line[indent:] for line in lines)


def blocks_of(page):
    text = (ROOT / page).read_text()
    return list(fenced(text) if page.endswith(".md") else indented(text))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    CliRunner().invoke(app, ["phantoms", str(folder), "--patients", "30"])
    return folder


@pytest.fixture
def folder(phantoms, tmp_path, monkeypatch):
    """Work where there are a table and scans, and random weights as ImageNet's."""

    def random_weights(self, *args, **kwargs):
        name = self.__class__.__name__.removesuffix("_Weights").lower()
        return torchvision.models.get_model(name).state_dict()

    monkeypatch.setattr(
        torchvision.models.WeightsEnum, "get_state_dict", random_weights
    )
    monkeypatch.chdir(shutil.copytree(phantoms, tmp_path / "data"))


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page, folder):
    blocks = [code for language, code in blocks_of(page) if language == "python"]
    assert blocks
    names = {}
    for code in blocks:
        # What takes hours is replaced by what the page says takes minutes.
        names["QUICK"] = {"texture": make_texture_classifier()}
        exec(code.replace('compare_models("all"', "compare_models(QUICK"), names)


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.rst"])
def test_commands_run(page, folder):
    text = "\n".join(
        code for language, code in blocks_of(page) if language in ("bash", "console")
    )
    commands = re.findall(r"^ *tbsclassify (?!demo)(.*)$", text, re.M)
    assert commands
    for command in commands:
        result = CliRunner().invoke(app, command.replace("archive/", "images").split())
        assert result.exit_code == 0, result.output
