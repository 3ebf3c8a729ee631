"""What pages that need nothing beside them are made of: their folder, frame, tables and figures."""

import base64
import hashlib
import html
import io
import shutil
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from jaxt2i.analysis import page_style
from jaxt2i.errors import UserError


def require_own(out: Path, numbers: str) -> None:
  """UserError if a folder has other files than an earlier page's.

  Args:
    out: the folder; it need not be there.
    numbers: name of the file with the page's numbers, by which its folder is known.
  """
  try:
    if out.is_dir() and any(out.iterdir()) and not (out / numbers).exists():
      raise UserError(f"{out} has other files in it: choose another --out, or empty it.")
  except OSError as error:
    raise unwritable(out, error) from error


def unwritable(out: Path, error: OSError) -> UserError:
  """What to say where a page cannot be written."""
  return UserError(f"cannot write to {out} ({error.strerror or error}): choose another --out.")


def fresh_figures(out: Path) -> Path:
  """The folder of the figures, without those of an earlier page."""
  shutil.rmtree(out / "figures", ignore_errors=True)
  (out / "figures").mkdir(parents=True)
  return out / "figures"


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
  """A whole page.

  Args:
    title: text.
    body: HTML; ends with `script` where there is one, in a script element.
    style: further CSS.
    script: the only one that may run; nothing may be loaded.
  """
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
  return page_style.FRAME.substitute(
    title=safe(title),
    style=page_style.STYLE + style,
    scripts=f";\n  script-src 'sha256-{digest}'" if script else "",
    body=body,
  )


def safe(text: str) -> str:
  """Text as HTML, in attributes too."""
  return html.escape(text, quote=True)


def facts(by_heading: Mapping[str, str]) -> str:
  """A table of two columns."""
  rows = (
    f'<tr><th scope="row">{safe(key)}</th><td dir="auto">{safe(value)}</td></tr>'
    for key, value in by_heading.items()
  )
  return f'<table class="facts">{"".join(rows)}</table>'


def encoded(figure: Figure, form: str, dpi: int) -> bytes:
  """A figure as a file, "png" or "pdf"; without dates, so that the same gives the same file."""
  file = io.BytesIO()
  metadata = {"CreationDate": None} if form == "pdf" else None
  figure.savefig(file, format=form, dpi=dpi, metadata=metadata)
  return file.getvalue()


def shown(png: bytes, dpi: int, alt: str, caption: str) -> str:
  """A figure in a page; letters are of one size in all.

  Args:
    png: what `encoded` gave.
    dpi: that it was drawn with.
    alt: text for those who cannot see it.
    caption: HTML.
  """
  with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
    width = round(image.width * 100 / dpi)
  return (
    f'<figure><img alt="{safe(alt)}" width="{width}" src="{inline(png)}"><figcaption>{caption}'
    "</figcaption></figure>\n"
  )


def inline(file: bytes, form: str = "png") -> str:
  """A picture's file as an address that holds all of it."""
  return f"data:image/{form};base64,{base64.b64encode(file).decode('ascii')}"
