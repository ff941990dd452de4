"""Reports as self-contained HTML files, rendered from the templates of this folder."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.report.table import flattened
from engine.system.files import write_atomically

_FILTERS: dict[str, Callable[..., Any]] = {
    "base64": lambda data: base64.b64encode(data).decode(),
    "flattened": flattened,
}


def write_page(
    path: Path,
    template: str,
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    **context: object,
) -> None:
    """Render a template that extends ``base.html.j2`` to ``path``, atomically."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({**_FILTERS, **(filters or {})})
    page = environment.get_template(template).render(**context)
    write_atomically(path, page.strip().encode() + b"\n")


def machine(environment: Mapping[str, Any]) -> str:
    """Return the machine and the date of a result in one line."""
    threads = environment.get("threads")
    parts = [
        environment.get("cpu"),
        f"{threads} threads" if threads else None,
        environment.get("gpu"),
        environment.get("date"),
    ]
    return " · ".join(str(part) for part in parts if part)
