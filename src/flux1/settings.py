"""The only reader of environment variables. Typed, frozen, read when asked and not at import."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is read from the variable `FLUX1_<FIELD>`.

    models: folder that holds one folder of weights for each model (`flux-dev/`, `FLUX.1-dev/`).
    device: `auto`, or a torch device such as `cpu`, `cuda`, `cuda:1`, `mps`.
    dtype: `auto`, or `float32`, `bfloat16`.
    """

    model_config = SettingsConfigDict(env_prefix="FLUX1_", frozen=True)

    models: Path | None = None
    device: str = "auto"
    dtype: str = "auto"
