"""Documents tell the truth: their Python runs, their commands exist."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from flux1.cli.main import app
from flux1.server import routes
from flux1.server.routes.bfl import router_for
from flux1.settings import ServerSettings, Settings
from shell import python

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]


def blocks(language):
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page, code) for page in PAGES for code in fence.findall(page.read_text())]


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_examples_run(page, code, tmp_path):
    """In a process of its own: what is drawn within an amount of memory counts all of it."""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert list(tmp_path.glob("*.png"))


def commands():
    return {command.name for command in app.registered_commands} | {
        group.name for group in app.registered_groups
    }


def headings(page):
    return set(re.findall(r"^## (.*)$", (ROOT / "docs" / "reference" / page).read_text(), re.M))


def routers():
    """Those of all files of server/routes but BFL's, whose paths have the models' names."""
    modules = [import_module(f"{routes.__name__}.{m.name}") for m in iter_modules(routes.__path__)]
    return [module.router for module in modules if hasattr(module, "router")]


def test_every_command_setting_and_endpoint_has_its_heading():
    assert {f"flux1 {name}" for name in commands()} <= headings("command-line.md")
    fields = [*Settings.model_fields, *ServerSettings.model_fields]
    assert {f"FLUX1_{name.upper()}" for name in fields} == headings("settings.md")
    documented = {
        f"{method.upper()} {path}"
        for router in (*routers(), router_for(("flux-dev",)))
        for route in router.routes
        for path in [route.path.replace(":path", "")]
        for method in route.methods
    }  # fmt: skip
    assert documented == headings("api.md")
