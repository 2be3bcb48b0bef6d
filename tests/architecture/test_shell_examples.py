"""Every line of every shell example: its command is there, its options are taken as written."""

import re
import shlex
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import typer

from flux1.cli.main import app
from flux1.settings import ServerSettings, Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("benchmarks/*.md")), *sorted(ROOT.glob("examples/**/*.md")),
]  # fmt: skip
RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial" / "first-pictures.md"]
FENCE = re.compile(r"^ *```bash\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
OTHERS = {"curl", "docker", "echo", "hf", "pre-commit", "python3", "torchrun", "."}
SETTINGS = {
    f"FLUX1_{field.upper()}" for kind in (Settings, ServerSettings) for field in kind.model_fields
}
COMMANDS = typer.main.get_command(app)


def lines(page):
    """The commands of a page's shell examples, split into words as a shell does."""
    for code in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in code.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&;>")
            lexer.whitespace_split = True
            sign = ""
            for is_sign, words in groupby(lexer, lambda word: word in ("&&", ";", ">")):
                if is_sign:
                    (sign,) = words
                elif sign != ">":  # a file follows it
                    yield list(words)


def parsed(words):
    """The words of `flux1 ...` as its command takes them; whatever it would refuse is refused."""
    name, command, context = "flux1", COMMANDS, None
    while True:
        context = command.make_context(name, list(words), parent=context)
        if not hasattr(command, "resolve_command"):
            return context
        rest = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, rest)


EVERY = [(page, words) for page in PAGES for words in lines(page)]


@pytest.mark.parametrize(
    "words", [words for _, words in EVERY if words[0] == "flux1"], ids=" ".join
)
def test_flux1_takes_the_line(words):
    if words[1] not in ("--help", "--install-completion"):
        assert parsed(words[1:]).params


def test_every_other_line_names_what_is_there():
    seen = set()
    for page, words in EVERY:
        name, *rest = words
        place = f"{page.relative_to(ROOT)}: {' '.join(words)}"
        seen.add(name)
        if name == "export" or "=" in name:
            variable = (rest[0] if name == "export" else name).partition("=")[0]
            assert not variable.startswith("FLUX1_") or known(variable), place
        elif name == "python":
            assert rest[0] == "-m" or (ROOT / rest[0]).is_file(), place
        elif name == "pip":
            files = [after for option, after in pairwise(rest) if option in ("-c", "-r")]
            assert all((ROOT / file).is_file() for file in files), place
        elif name == "cd" or "/" in name:
            target = rest[0] if name == "cd" else name
            assert any((base / target).exists() for base in (ROOT, page.parent)), place
        else:
            assert name in {"flux1", "pytest", *OTHERS}, place
    assert {"flux1", "pip", "python", "export"} <= seen


def known(variable):
    return variable in SETTINGS or any(
        variable in file.read_text() for file in ROOT.glob("tests/**/*.py")
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_what_is_drawn_is_drawn(page, tmp_path, monkeypatch, capsys):
    """The lines that draw with what is shipped, one after the other, in one process."""
    monkeypatch.chdir(tmp_path)
    count = 0
    for words in lines(page):
        if words[:2] not in (["flux1", "generate"], ["flux1", "info"]) or "flux-dev" in words:
            continue
        if "--lora" in words:  # trained by the line before, for minutes
            continue
        app(words[1:], standalone_mode=False)
        count += 1
        if "-o" in words:
            stem = Path(words[words.index("-o") + 1]).stem.split("{")[0]
            assert list(tmp_path.glob(f"{stem}*.png"))
    assert count


def options_of(command):
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def unknown_in(code):
    """Words after `flux1` that are no command where one has to stand, and options it lacks."""
    words, command, taken = re.findall(r"[^\s|=]+", code), COMMANDS, {"--help"}
    for word in words:
        taken |= options_of(command)
        if word in getattr(command, "commands", {}):
            command = command.commands[word]
    lost = [
        word for word in words if word.startswith("--") and word not in taken | options_of(command)
    ]
    return lost if words[0].startswith("-") or command is not COMMANDS else [words[0], *lost]


def test_commands_and_options_named_in_sentences_exist():
    """History keeps its words: the log and the decisions are not asked."""
    pages = [page for page in PAGES if page.name != "log.md" and page.parent.name != "decisions"]
    named = [
        (page.name, code)
        for page in [*pages, *ROOT.glob("src/**/*.md")]
        for code in re.findall(
            r"`flux1 ([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8"))
        )
    ]
    assert len(named) > 50
    assert [(page, code) for page, code in named if unknown_in(code)] == []
    assert unknown_in("plam x") == ["plam"]
    assert unknown_in("plan draw --vrum 3") == ["--vrum"]
