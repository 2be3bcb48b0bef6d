"""`flux1 serve`: the rooms of the service joined in one process."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flux1.cli.console import say
from flux1.cli.options import Device, Dtype
from flux1.errors import DependencyError, Flux1Error, RequestError, SettingsError
from flux1.variants import DEFAULT, Variant

if TYPE_CHECKING:
    from flux1.notes import Notes
    from flux1.pipeline.pipeline import FluxPipeline
    from flux1.server.parts import Parts
    from flux1.server.ports import Model
    from flux1.settings import ServerSettings
    from flux1.store.open import Store


@dataclass(frozen=True)
class Placed:
    """The device, number format and memory that the models' networks compute with, as
    `FluxPipeline.from_pretrained` takes it."""

    device: str | None = None
    dtype: str | None = None
    memory: str | None = None


DEMO_EMAIL = "demo@flux1.example"
DEMO_ALIAS = "flux-dev"
LEASE_WAIT_S = 40.0  # longer than a server takes to stop


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="Model name or folder; may be given again.",
            show_default=DEFAULT.id,
        ),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="NAME=MODEL: another name that requests may use; may be given again."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 picks a free one.", min=0, max=65535)] = 8000,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of database, pictures and secret.", show_default="FLUX1_DATA"),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option(help=f"Make a key and print it; {DEMO_ALIAS} is drawn by {DEFAULT.id}."),
    ] = False,
    accept_license: Annotated[
        bool, typer.Option(help="You have read the models' licences and keep to them; asked once.")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Hold no more than this, for example 6GB, of the card's memory or without one of "
            "this process: networks come and go. For one model; 'auto' is what is free.",
            show_default="all networks at once",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object on stdout when ready, and no words."),
    ] = False,
) -> None:
    """Serve pictures: an OpenAI-compatible API, BFL's API, and a dashboard."""
    try:
        from flux1.server import connections
        from flux1.server.app import create_app
        from flux1.server.collector import open_tracing
        from flux1.server.logs import log_to_stderr
        from flux1.store.lease import leased
    except ImportError as failure:
        raise DependencyError("serve", failure.name, "serve") from failure
    from flux1.settings import ServerSettings, read

    settings = read(ServerSettings) if data is None else read(ServerSettings, data=data)
    log_to_stderr(settings.log_json)
    listening = _listen(host, port)
    place = Placed(device, dtype, memory)
    tracing = open_tracing(settings.traces_url)  # what is not installed is said first
    with leased(settings, LEASE_WAIT_S, say) as lease:
        parts = join(settings, model or [DEFAULT.id], alias or [], demo, accept_license, place)
        parts = replace(parts, lease=lease, tracing=tracing)
        key, password = _demo_account(parts.store) if demo else (None, None)
        base_url = f"http://{_shown(host)}:{listening.getsockname()[1]}"
        announce = _announcer(parts, base_url, key, password, as_json)
        limits = connections.limits_for(
            settings.connections, settings.connections_per_address, settings.proxies
        )
        app = create_app(parts)
        _run(connections.serve_app(app, limits), listening, announce)
        parts.store.close()


def join(
    settings: "ServerSettings",
    models: Sequence[str],
    aliases: Sequence[str],
    demo: bool,
    accept_license: bool,
    place: "Placed",
) -> "Parts":
    """Open the store, load the models, start the engine. Everything that can be wrong with an
    installation is said here, before anything is served."""
    from flux1.engine.engine import Engine, EngineSettings
    from flux1.pipeline.pipeline import FluxPipeline
    from flux1.safety.credentials import Credentials
    from flux1.safety.pictures import PicturePolicy, open_classifier
    from flux1.safety.prompts import PromptPolicy
    from flux1.server.parts import Parts
    from flux1.settings import Settings, read
    from flux1.store.open import open_store
    from flux1.weights.sources import locate

    store = open_store(settings)
    store.pictures.check()
    if place.memory is not None and len(models) > 1:
        raise RequestError(
            "memory", f"{place.memory} is for one model; serve {models[1]} by a process of its own"
        )
    sources = [locate(name, read(Settings).models) for name in models]
    for source in sources:
        _check_licence(source.variant, settings.data, accept_license)
    with ThreadPoolExecutor() as beside:  # their libraries load while the models do
        classifier = beside.submit(open_classifier, settings.picture_classifier)
        credentials = beside.submit(
            Credentials.open, settings.data, settings.certificate, settings.certificate_key
        )
        pipelines: dict[str, FluxPipeline] = {}
        for source in sources:
            if source.variant.id in pipelines:
                raise RequestError("model", f"{source.variant.id} is given twice")
            pipelines[source.variant.id] = FluxPipeline.from_pretrained(source, **asdict(place))
    names = _names(pipelines, models, aliases, demo)
    cards = {id: _card(pipeline, names[id]) for id, pipeline in pipelines.items()}
    engine = Engine(
        pipelines,
        cards,
        EngineSettings(
            tokens_per_call=settings.tokens_per_call or _tokens_per_call(pipelines),
            max_waiting=settings.max_waiting,
            max_wait_seconds=settings.max_wait_seconds,
        ),
    )
    if settings.picture_classifier == "none":
        say("pictures are not classified: FLUX1_PICTURE_CLASSIFIER is none")
    return Parts(
        settings,
        engine,
        store,
        PromptPolicy.standard(settings.deny_words, settings.allow_words),
        PicturePolicy(classifier.result()),
        credentials.result(),
    )


def _tokens_per_call(pipelines: "dict[str, FluxPipeline]") -> int:
    """A CPU is no faster per token in larger calls; what grows with them is everybody's wait."""
    on_cpu = any(pipeline.device.type == "cpu" for pipeline in pipelines.values())
    return 2_048 if on_cpu else 16_384


def _names(
    pipelines: "dict[str, FluxPipeline]", models: Sequence[str], aliases: Sequence[str], demo: bool
) -> dict[str, tuple[str, ...]]:
    """Return each model's names: its id, its own aliases, the operator's."""
    names = {
        id: [id, *(a for a in pipeline.variant.aliases if "/" not in a)]
        for id, pipeline in pipelines.items()
    }
    if demo and DEMO_ALIAS not in names:
        names[next(iter(names))].append(DEMO_ALIAS)
        say(f"demo: requests for {DEMO_ALIAS} are drawn by {next(iter(names))}; answers say so")
    for pair in aliases:
        name, equals, target = pair.partition("=")
        owner = next((id for id, known in names.items() if target in known), None)
        if not (name and equals) or owner is None:
            known = ", ".join(names)
            raise RequestError("alias", f"{pair!r} is not NAME=MODEL with one of {known}")
        taken = {one.lower() for known in names.values() for one in known}
        if name.lower() in taken:
            raise RequestError("alias", f"{name!r} is taken already")
        names[owner].append(name)
    return {id: tuple(known) for id, known in names.items()}


def _card(pipeline: "FluxPipeline", names: tuple[str, ...]) -> "Model":
    from flux1.server.ports import Model

    return Model(
        variant=pipeline.variant,
        origin=pipeline.origin,
        names=names,
        created=int(time.time()),
        count_tokens=pipeline.networks.count_tokens,
        notes=_notes(pipeline),
    )


def _notes(pipeline: "FluxPipeline") -> "Notes":
    """Return what makes remarks on requests in any thread: an encoder that comes and goes is not
    asked."""
    from flux1.notes import Notes

    return Notes(pipeline.variant, None) if pipeline.networks.comes_and_goes else pipeline.notes


def _check_licence(variant: Variant, data: Path, accept: bool) -> None:
    """Weights with duties are served only after the operator has said yes, once."""
    if variant.licence.commercial_use:
        return
    path = data / "accepted-licences.json"
    accepted = _accepted(path) if path.exists() else []
    if variant.licence.name in accepted:
        return
    if not accept:
        raise RequestError(
            "accept-license",
            f"{variant.id} comes under the {variant.licence.name} ({variant.licence.duties}); "
            f"read {variant.licence.url} and run again with --accept-license",
        )
    path.write_text(json.dumps([*accepted, variant.licence.name]))


def _accepted(path: Path) -> list[str]:
    """The licences that were accepted. SettingsError for a file that was not written here."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as failure:
        raise SettingsError(f"{path}: damaged: {failure}; remove it to be asked again") from failure
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise SettingsError(f"{path}: holds no list of licences; remove it to be asked again")
    return told


def _demo_account(store: "Store") -> tuple[str, str]:
    """A key and a password made for this start; those of earlier demos stop working."""
    password = secrets.token_urlsafe(12)
    account = store.accounts.find(DEMO_EMAIL)
    if account is None:
        account = store.accounts.register(DEMO_EMAIL, password)
    else:
        store.accounts.set_password(account.id, password)
    for key in store.keys.list(account.id):
        if key.name == "demo" and key.revoked is None:
            store.keys.revoke(account.id, key.id)
    _, secret = store.keys.create(account.id, "demo")
    return secret, password


def _announcer(
    parts: "Parts", base_url: str, key: str | None, password: str | None, as_json: bool
) -> Callable[[], None]:
    """Return the function that prints addresses and keys once the server answers."""
    names = [name for model in parts.engine.models.values() for name in model.names]

    def announce() -> None:
        if as_json:
            typer.echo(json.dumps({"base_url": f"{base_url}/v1", "api_key": key, "models": names}))
            return
        say(f"dashboard  {base_url}")
        say(f"API        {base_url}/v1   models: {', '.join(names)}")
        if key is None:
            say("sign up in the dashboard (the first account administers), then create a key there")
            return
        say(f"sign in    {DEMO_EMAIL}  {password}")
        say(f"key        {key}\n")
        say(
            f"curl {base_url}/v1/images/generations \\\n"
            f"  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
            f'  -d \'{{"model": "{DEMO_ALIAS}", "prompt": "a castle on a pink background", '
            f'"response_format": "url"}}\''
        )

    return announce


def _listen(host: str, port: int) -> socket.socket:
    """The port is taken before the models are loaded: whoever cannot have it learns so at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as failure:
        listening.close()
        raise RequestError(
            "port",
            f"cannot listen on {host}:{port} ({failure.strerror}); --port 0 picks a free one",
        ) from failure
    return listening


def _shown(host: str) -> str:
    """An address that a browser on this machine can open."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _run(server: Any, listening: socket.socket, announce: Callable[[], None]) -> None:
    from flux1.server.connections import tell_failure

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(tell_failure)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.02)
        if server.started:
            announce()
        await serving

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        say("stopped")
    if not server.started:
        raise Flux1Error("the server did not start; the lines above say why")
