"""`flux1 inspect`: what a weight file is."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flux1.errors import printable

if TYPE_CHECKING:
    from flux1.weights.inspect import Adapter, NetworkReport, Report

SHOWN = 8  # names in a list
LONGEST = 200  # letters of a metadata value


def inspect(
    path: Annotated[
        Path, typer.Argument(help="A weight file, or a folder of them.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Say what a weight file holds, in whose layout, how it is quantised, and what is missing."""
    from flux1.weights.files.disk import unreadable
    from flux1.weights.inspect import inspect as inspect_weights

    try:
        reports = inspect_weights(path)
    except OSError as failure:
        raise unreadable(failure) from failure
    if as_json:
        typer.echo(json.dumps([asdict(report) for report in reports], default=str))
        return
    typer.echo("\n\n".join(_shown(report) for report in reports))


def _shown(report: "Report") -> str:
    lines = [
        ("format", f"{report.format}, {size_shown(report.bytes)}, {report.tensors} tensors"),
        (
            "kept as",
            ", ".join(
                f"{kept.tensors} {dtype} ({size_shown(kept.bytes)})"
                for dtype, kept in report.dtypes.items()
            ),
        ),
    ]
    for network in report.networks:
        lines += _of_network(network)
    if report.adapter is not None:
        lines += _of_adapter(report.adapter)
    if report.other:
        lines.append(("holds", f"{report.other}: not FLUX.1's"))
    elif not report.networks and report.adapter is None:
        lines.append(("holds", "no network that is known"))
    if report.unknown:
        lines.append(("not used", _list(report.unknown)))
    for key, value in report.metadata.items():
        lines.append((key, value if len(value) <= LONGEST else f"{value[:LONGEST]}..."))
    rows = [f"  {printable(name):<12} {printable(value)}" for name, value in lines]
    return "\n".join((printable(str(report.path)), *rows))


def _of_network(network: "NetworkReport") -> list[tuple[str, str]]:
    kind = network.kind.upper() if network.kind in ("clip", "t5", "bert") else network.kind
    under = f" under {network.prefix}" if network.prefix else ""
    whose = network.dialect.upper() if network.dialect == "bfl" else network.dialect
    lines = [("holds", f"{kind} in {whose} names{under}: {network.what}".rstrip(": "))]
    if network.problem:
        return [*lines, ("cannot read", network.problem)]
    lines.append(("parameters", f"{network.parameters:,}"))
    if network.quantisation:
        lines.append(("quantised", ", ".join(network.quantisation)))
    if network.licence:
        lines.append(("licence", network.licence))
    for word, names in (("missing", network.missing), ("unknown", network.unknown)):
        if names:
            lines.append((word, _list(names)))
    return lines


def _of_adapter(adapter: "Adapter") -> list[tuple[str, str]]:
    whose = f"in {adapter.dialect} names" if adapter.dialect else "not of FLUX.1's layers"
    if adapter.other_model:
        whose += f", but of {adapter.other_model}'s"
    lines = [("holds", f"{' + '.join(adapter.algorithms)}, {whose}")]
    if adapter.ranks:
        lines.append(("rank", ", ".join(map(str, adapter.ranks))))
    text = f", and {adapter.text_layers} of text encoders" if adapter.text_layers else ""
    return [*lines, ("changes", f"{adapter.layers} layers{text}")]


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"


def size_shown(count: int) -> str:
    """1 GB is 10^9 bytes, as disks and download pages count."""
    if count < 1000:
        return f"{count} bytes"
    for power, unit in ((1e3, "kB"), (1e6, "MB"), (1e9, "GB")):
        if count < 1000 * power:
            return f"{count / power:.3g} {unit}"
    return f"{count / 1e9:.0f} GB"
