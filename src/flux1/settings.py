"""The only reader of environment variables. Typed, frozen, read when asked and not at import."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, HttpUrl, PositiveFloat, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from flux1.errors import SettingsError

Kind = TypeVar("Kind", bound=BaseSettings)


def read(kind: type[Kind], **given: Any) -> Kind:
    """Settings from the environment; what is `given` wins. SettingsError for a value that cannot
    be."""
    try:
        return kind(**given)
    except ValidationError as failure:
        first = failure.errors()[0]
        name = f"FLUX1_{str(first['loc'][0]).upper()}"
        raise SettingsError(f"{name}: {first['input']!r}: {first['msg']}") from None


class Settings(BaseSettings):
    """Each field is read from the variable `FLUX1_<FIELD>`.

    models: folder that holds one folder of weights for each model (`flux-dev/`, `FLUX.1-dev/`).
    device: `auto`, or a torch device such as `cpu`, `cuda`, `cuda:1`, `mps`.
    dtype: `auto`, or `float32`, `bfloat16`.
    """

    model_config = SettingsConfigDict(env_prefix="FLUX1_", frozen=True, env_ignore_empty=True)

    models: Path | None = None
    device: str = "auto"
    dtype: str = "auto"


class ServerSettings(BaseSettings):
    """The service's. Each field is read from the variable `FLUX1_<FIELD>`.

    data: folder of everything that must be kept: database, pictures, secret, certificate.
    database: SQLAlchemy URL; not set: SQLite in the data folder. `postgresql+psycopg://...` works.
    pictures: obstore URL (`s3://bucket/prefix`, `file:///folder`); not set: in the data folder.
    public_url: what links in answers begin with; not set: the address that was called.
    open_signup: whether strangers may register (the first account always may).
    response_format: what an OpenAI request gets that does not say: `b64_json` or `url`.
    url_seconds: how long a picture's signed link works.
    retention_days: how long pictures are kept; 0 keeps them for ever.
    session_days: how long a log-in lasts.
    max_waiting: pictures that may wait; more are answered 503.
    max_wait_seconds: predicted wait beyond which new work is answered 503.
    tokens_per_call: image and text tokens that may share one model call; not set: 2048 on a CPU,
    16384 elsewhere.
    body_bytes: largest request body.
    connections, connections_per_address: how many may be open, in all and from one address.
    cors_origins: sites whose pages may call the API from a browser, with commas; `*` is any.
    proxies: addresses of proxies before this server, with commas: what they say of their clients'
        addresses is believed, and their connections are not counted by address.
    requests_per_minute, concurrency, images_per_day, megapixels_per_day: what a key may do unless
    it says otherwise.
    tolerance: how much a request may ask to tolerate, 0 (strict) to 6.
    deny_words: file with one word or phrase a line that prompts may not hold; allow_words: one with
    phrases that the shipped lists let pass.
    private_webhooks: whether webhooks may call addresses inside this server's network.
    picture_classifier: `opennsfw`, `none`, a folder with an exported ONNX classifier, or a
        Hugging Face repository that holds one.
    certificate, certificate_key: PEM files that sign pictures; not set: made on first start.
    log_json: structured logs as JSON lines.
    traces_url: where a collector of OpenTelemetry's traces takes OTLP over HTTP; not set: none.
    """

    model_config = SettingsConfigDict(env_prefix="FLUX1_", frozen=True, env_ignore_empty=True)

    data: Path = Path("flux1-data")
    database: str | None = None
    pictures: str | None = None
    public_url: str | None = None
    open_signup: bool = True
    response_format: Literal["b64_json", "url"] = "b64_json"
    url_seconds: PositiveInt = 3600
    retention_days: int = Field(default=30, ge=0)
    session_days: PositiveInt = 14
    max_waiting: PositiveInt = 512
    max_wait_seconds: PositiveFloat = 600
    tokens_per_call: PositiveInt | None = None
    body_bytes: PositiveInt = 1_048_576
    connections: PositiveInt = 2_000
    connections_per_address: PositiveInt = 200
    cors_origins: str = ""
    proxies: str = "127.0.0.1,::1"
    requests_per_minute: PositiveInt = 120
    concurrency: PositiveInt = 16
    images_per_day: PositiveInt = 10_000
    megapixels_per_day: PositiveFloat = 10_000
    tolerance: int = Field(default=6, ge=0, le=6)
    deny_words: Path | None = None
    allow_words: Path | None = None
    private_webhooks: bool = False
    picture_classifier: str = "opennsfw"
    certificate: Path | None = None
    certificate_key: Path | None = None
    log_json: bool = False
    traces_url: HttpUrl | None = None
