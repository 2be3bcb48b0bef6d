"""Dockerfile and compose.yaml fit the package, as far as can be told without a Docker engine."""

import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
import typer
import yaml
from moto.server import ThreadedMotoServer
from sqlalchemy import make_url

from flux1.cli.main import app
from flux1.server.routes import operations
from flux1.settings import ServerSettings, Settings, read
from flux1.store.images import Pictures

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
SETTINGS = {
    f"FLUX1_{field.upper()}" for kind in (Settings, ServerSettings) for field in kind.model_fields
}
SERVICE_KEYS = {  # of the Compose specification, those in use here
    "build", "command", "depends_on", "environment", "healthcheck", "image", "init", "ports",
    "restart", "stop_grace_period", "volumes",
}  # fmt: skip


def instructions():
    """(word, rest) of each instruction of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def of(word):
    return [rest for name, rest in instructions() if name == word]


def options_of(command):
    return {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


def assert_is_a_command(words):
    """`flux1 WORDS` names a command and options that it has."""
    command = typer.main.get_command(app).commands[words[0]]
    assert {word for word in words if word.startswith("-")} <= options_of(command)


def test_every_file_that_is_copied_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sources = [
        source for rest in of("COPY") if "--from" not in rest for source in rest.split()[:-1]
    ]
    assert "src" in sources
    for source in sources:
        assert (ROOT / source).exists()
        matching = [p for p in ignored if not p.startswith("#") and fnmatch(source, p.lstrip("!"))]
        assert matching[-1] == f"!{source}"


def test_what_the_build_reads_is_copied():
    """The file names that the packaging needs, as pyproject.toml gives them."""
    copied = " ".join(of("COPY"))
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("README.md", "LICENSE"):
        assert name in project
        assert name in copied
    assert "constraints.txt" in copied


def test_the_image_names_only_settings_options_and_pages_that_exist():
    (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
    assert json.loads(entry) == ["flux1"]
    assert_is_a_command(json.loads(command))
    named = set(re.findall(r"(FLUX1_\w+)=", " ".join(of("ENV"))))
    assert named
    assert named <= SETTINGS
    (check,) = of("HEALTHCHECK")
    page = re.search(r"http://127\.0\.0\.1:8000(/[\w/]+)", check)[1]
    assert page in {route.path for route in operations.router.routes}
    assert of("EXPOSE") == ["8000"]
    assert of("USER") == ["flux1"]


def test_the_health_check_is_python():
    (check,) = of("HEALTHCHECK")
    python, option, code = json.loads(check[check.index("[") :])
    assert (python, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")


def test_compose_is_of_known_keys_and_names_that_stand_for_something():
    assert set(COMPOSE) <= {"name", "services", "volumes"}
    for service in SERVICES.values():
        assert set(service) <= SERVICE_KEYS
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert ("image" in service) != ("build" in service)
        mounted = {volume.split(":")[0] for volume in service["volumes"]}
        named = {volume for volume in mounted if re.fullmatch(r"\w+", volume)}
        assert named <= set(COMPOSE["volumes"])
    waited = SERVICES["flux1"]["depends_on"]
    assert all("healthcheck" in SERVICES[name] for name in waited)


def test_compose_names_only_settings_and_options_that_exist():
    flux1 = SERVICES["flux1"]
    assert_is_a_command(flux1["command"])
    given = {name for name in flux1["environment"] if name.startswith("FLUX1_")}
    assert given
    assert given <= SETTINGS


def filled(value):
    """A value of compose.yaml with its variables put in."""
    return re.sub(r"\$\{SECRET(:\?[^}]*)?\}", "geheim", value)


def test_compose_names_the_database_that_it_starts():
    flux1, database = SERVICES["flux1"]["environment"], SERVICES["database"]["environment"]
    url = make_url(filled(flux1["FLUX1_DATABASE"]))
    assert url.drivername == "postgresql+psycopg"
    assert url.host == "database"
    assert (url.username, url.password, url.database) == tuple(
        filled(database[f"POSTGRES_{name}"]) for name in ("USER", "PASSWORD", "DB")
    )


@pytest.fixture
def s3():
    """The address of an S3 server that has compose.yaml's bucket."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="flux1", aws_secret_access_key="geheim",
    ).create_bucket(Bucket="pictures")  # fmt: skip
    yield f"{host}:{port}"
    server.stop()


def test_the_environment_of_compose_opens_its_picture_store(s3, monkeypatch):
    flux1, pictures = SERVICES["flux1"]["environment"], SERVICES["pictures"]
    endpoint = urlsplit(flux1["AWS_ENDPOINT_URL"])
    assert endpoint.hostname == "pictures"
    assert f":{endpoint.port}" in pictures["command"]
    for name, value in flux1.items():
        monkeypatch.setenv(name, filled(value).replace(endpoint.netloc, s3))
    settings = read(ServerSettings)
    bucket = urlsplit(settings.pictures).netloc
    assert pictures["volumes"] == [f"pictures:/s3/{bucket}"]
    assert pictures["command"][-1] == "/s3"
    store = Pictures.open(settings.pictures)
    store.check()
    store.put("img_1", b"\x89PNG", "image/png")
    assert store.get("img_1", "image/png") == b"\x89PNG"


def test_the_page_shows_commands_that_exist():
    page = (ROOT / "docs" / "how-to" / "run-in-containers.md").read_text()
    shown = re.findall(r"docker run [^\n`]*? flux1 ([^\n`]+)", page)
    assert len(shown) == 2
    for line in shown:
        assert_is_a_command(shlex.split(line))
