"""`flux1 upscale FILE`: any picture at 2 or 4 times its sides."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.cli.console import say
from flux1.cli.options import AsJson, Device, Overwrite, Quiet
from flux1.errors import OutputError, RequestError
from flux1.request import UPSCALES, check_upscale

if TYPE_CHECKING:
    from PIL.Image import Image

    from flux1.safety.provenance import Recipe

MOST_PIXELS = 2**27  # of a file that is written: 11585x11585
SCALES = UPSCALES[1:]


def upscale(
    file: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Picture file: .png, .jpg or .webp.", show_default="FILE-x4.png"
        ),
    ] = None,
    scale: Annotated[int, typer.Option(help="2 or 4.")] = 4,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge a picture to 2 or 4 times its width and height."""
    from flux1.cli.picture_input import read_picture
    from flux1.safety.provenance import check_writable, write_picture

    if scale not in SCALES:
        near = min(SCALES, key=lambda one: abs(one - scale))
        known = ", ".join(map(str, SCALES))
        raise RequestError("scale", f"{scale} is not one of {known}; nearest: {near}")
    target = file.with_name(f"{file.stem}-x{scale}.png") if output is None else output
    if target.exists() and target.is_file() and not overwrite:
        raise OutputError(f"output: {target} is there already; --overwrite writes over it")
    given = read_picture(file)
    check_upscale(*given.picture.size, scale, MOST_PIXELS)
    check_writable(target)

    from flux1.pipeline.load import choose_device  # torch, after all that can be refused without
    from flux1.pipeline.upscale import upscale_any
    from flux1.settings import Settings, read

    place = choose_device(read(Settings).device if device is None else device)
    large = upscale_any(given.picture, scale, place)
    recipe = _recipe(file, given.picture, scale)
    write_picture(target, _encoded(large, target, recipe, given.profile, given.software))
    if as_json:
        width, height = large.size
        typer.echo(json.dumps({"file": str(target), "width": width, "height": height}))
    elif not quiet:
        say(f"{target}  {large.width}x{large.height}")


def _recipe(file: Path, picture: "Image", scale: int) -> "Recipe | None":
    """The recipe of what will be written: that of the file, if it was not enlarged before."""
    from flux1.safety.provenance import read_recipe

    try:
        recipe = read_recipe(file)
    except OutputError:
        return None
    drawn = (recipe.width, recipe.height) == picture.size and recipe.upscale == 1
    return replace(recipe, upscale=scale) if drawn else None


def _encoded(
    picture: "Image", target: Path, recipe: "Recipe | None", profile: bytes | None, software: str
) -> bytes:
    from PIL import ExifTags, Image

    from flux1.safety.provenance import encode_picture, format_for

    format = format_for(target)
    if format == "JPEG" and picture.mode == "RGBA":
        raise OutputError("output: JPEG holds no transparency; write a .png or a .webp")
    if recipe is not None:
        return encode_picture(picture, recipe, format)
    exif, buffer = Image.Exif(), io.BytesIO()
    if software:  # says of a generated picture that it is one
        exif[ExifTags.Base.Software] = software
    options = {} if format == "PNG" else {"quality": 95}
    try:
        picture.save(buffer, format, exif=exif, icc_profile=profile, **options)
    except (ValueError, OSError) as failure:
        raise OutputError(
            f"output: {format} cannot hold this picture ({failure}); write a .png"
        ) from failure
    return buffer.getvalue()
