"""The site builds without a warning and fetches nothing; the scripts that it shows run."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from skimage import data

import photostyle
from photostyle import TERMS, configure, transfer

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(ROOT.glob("docs/examples/*.py"))
LENGTH = 40  # lines: an example is read at one glance


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # By itself: Sphinx patches docutils for the whole process.
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "read")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.slow  # Sphinx takes 15 s
def test_every_page_is_on_the_site(site):
    pages = {path.stem for path in ROOT.glob("docs/*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    experiments = {path.parent.name for path in ROOT.glob("experiments/*/README.md")}
    assert experiments == {path.parent.name for path in site.glob("experiments/*/README.html")}


@pytest.mark.slow  # Sphinx takes 15 s
def test_the_site_fetches_nothing(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"([^\"]+)", text)
        loaded += re.findall(r"<link[^>]+href=\"([^\"]+)", text)
        assert loaded and not [each for each in loaded if "//" in each], page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)[\"' ]*(?:https?:)?//", sheet.read_text(encoding="utf-8")), (
            sheet.name
        )


@pytest.mark.slow  # Sphinx takes 15 s
def test_links_lead_to_what_is_on_the_site(site):
    missing = []
    for page in site.rglob("*.html"):
        for link in re.findall(r"href=\"([^\"#?]+)", page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", link) and not (page.parent / link).exists():
                missing.append(f"{page.relative_to(site)}: {link}")
    assert not missing


@pytest.mark.slow  # Sphinx takes 15 s
def test_every_public_name_is_explained(site):
    explained = set(re.findall(r"id=\"photostyle\.(\w+)\"", (site / "api.html").read_text(encoding="utf-8")))
    assert explained == set(photostyle.__all__) - {"__version__"}


@pytest.mark.parametrize(
    "path",
    [path if "arrays" in path.name else pytest.param(path, marks=pytest.mark.slow) for path in EXAMPLES],
    ids=lambda path: path.stem,
)
def test_the_examples_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip(), "it says what came out"


@pytest.mark.slow
def test_the_own_term_goes_into_transfer_as_well():
    script = ast.parse(EXAMPLES[-1].read_text(encoding="utf-8"))
    script.body = [node for node in script.body if isinstance(node, ast.ImportFrom | ast.ClassDef)]
    names: dict[str, Any] = {}
    exec(compile(script, EXAMPLES[-1].name, "exec"), names)
    config = configure(
        "patches", content=data.coffee(), style=data.chelsea(), boldness=1.0, size=64, iterations=(1,)
    )
    result = transfer(config, terms=(*TERMS, names["PaleHighlights"]))
    assert result.trace[-1]["pale highlights"] > 0


def test_the_examples_are_short_and_shown():
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    shown = re.findall(r"```\{literalinclude\} (\S+)", page)
    assert shown == [f"examples/{path.name}" for path in EXAMPLES]
    for path in EXAMPLES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LENGTH, path.name
