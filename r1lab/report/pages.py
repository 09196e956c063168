"""Shared by all HTML pages: escaping, numbers for people, images inside the page. The words stand in the templates.

Pages are one file without links; what a model wrote is escaped, cut and made visible.
"""

import json
from base64 import b64encode
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from r1lab.run.visible import visible


def environment() -> Environment:
    """Templates of this folder: everything is escaped, and what cannot be seen is written out."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: visible(value, 10**9) if type(value) is str else value,
    )  # fmt: skip
    dumped = partial(json.dumps, indent=2, ensure_ascii=False, default=str)
    templates.filters |= {"visible": visible, "count": count, "duration": duration, "json": dumped}
    return templates


def encoded(png: bytes) -> Markup:
    """An image as a data URL."""
    return Markup("data:image/png;base64," + b64encode(png).decode())


def count(value: float | None) -> str:
    """A number as people say it: 950, 12k, 3.4M."""
    if value is None:
        return "-"
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "-"
    if (whole := round(seconds)) < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{seconds:.1f} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"
