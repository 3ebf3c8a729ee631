"""One page about a data set that needs nothing beside it, its figures as files, and its numbers.

index.html          text, tables, figures and examples; no script, nothing loaded from elsewhere
figures/*.png, pdf  the same figures
exploration.json    the numbers
"""

import base64
import dataclasses
import html
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import jaxt2i
from jaxt2i.analysis import data_examples, data_figures, data_text, exploration, page_style
from jaxt2i.analysis.data_examples import Example, Examples
from jaxt2i.analysis.exploration import Exploration
from jaxt2i.analysis.words import shortened
from jaxt2i.data import split_files
from jaxt2i.data.check import Finding, check
from jaxt2i.errors import UserError

_NUMBERS = "exploration.json"
_DPI = 150  # of the figures
_NUM_CAPTIONS = 5  # shown of an example
_NUM_NAMED = 5  # files of a finding
_LONGEST = 400  # characters shown of a caption or of such a name
_SECTIONS = {  # figure → heading, what a reader who cannot see it is told
  "sizes": ("Sizes and orientation", "Widths and heights as dots, and a histogram of their ratio"),
  "bars": ("Black bars", "Histogram of the share of its square that a photo leaves empty"),
  "captions_per_image": ("Captions per image", "Histogram of the number of captions of an image"),
  "caption_length": ("Length of captions", "Histogram of the number of words of a caption"),
  "growth": ("Growth of the vocabulary", "Curve of different words against captions read"),
  "words": ("Most frequent words", "Bars of the most frequent words; the list below has the same"),
  "unseen": ("Words unseen in training", "Bars of the share of unseen words, by split"),
}
_LEVELS = {"error": "Error", "warning": "Worth a look", "note": "Good to know"}


def write(directory: Path, out: Path, *, protocol: str = "") -> Path:
  """Explores prepared data and writes the page, its figures and its numbers.

  Args:
    directory: prepared data.
    out: folder to write to; what an earlier exploration left there is replaced.
    protocol: whose splits; "": "image" if stored, else the first that is.

  Returns:
    The page.

  Raises:
    UserError: no such data or protocol, damaged data, or a folder that has other files in it or
      cannot be written.
  """
  try:
    if out.is_dir() and any(out.iterdir()) and not (out / _NUMBERS).exists():
      raise UserError(f"{out} has other files in it: choose another --out, or empty it")
  except OSError as error:
    raise _unwritable(out, error) from error
  found = exploration.explore(directory, protocol)
  chosen = data_examples.choose(found, directory)
  odd = findings(found, directory)
  figures = data_figures.draw(found, chosen)
  pictures = {name: _encoded(figure, "png") for name, figure in figures.items()}
  page = out / "index.html"
  try:
    shutil.rmtree(out / "figures", ignore_errors=True)
    (out / "figures").mkdir(parents=True)
    (out / _NUMBERS).write_text(numbers(found, odd), encoding="utf-8")
    for name, figure in figures.items():
      (out / "figures" / f"{name}.png").write_bytes(pictures[name])
      (out / "figures" / f"{name}.pdf").write_bytes(_encoded(figure, "pdf"))
    page.write_text(render(found, chosen, odd, pictures), encoding="utf-8")
  except OSError as error:
    raise _unwritable(out, error) from error
  return page


def _unwritable(out: Path, error: OSError) -> UserError:
  return UserError(f"cannot write to {out} ({error.strerror or error}): choose another --out")


def findings(found: Exploration, directory: Path) -> tuple[Finding, ...]:
  """What `check` finds, without what is about other protocols or is told anyway."""
  others = [repr(p) for p in split_files.protocols(directory) if p != found.protocol]
  return tuple(
    finding
    for finding in check(directory).findings
    if not (found.note and found.note in finding.what)
    and not any(other in finding.what for other in others)
  )


def numbers(found: Exploration, odd: Iterable[Finding]) -> str:
  """All numbers of the page as JSON."""
  facts = {
    "about": data_text.about(found),
    **found.json(),
    "findings": [dataclasses.asdict(finding) for finding in odd],
  }
  return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def render(
  found: Exploration,
  chosen: Examples,
  odd: Sequence[Finding],
  pictures: Mapping[str, bytes],
) -> str:
  """The page as HTML.

  Args:
    found: the numbers.
    chosen: the examples.
    odd: what `findings` returned.
    pictures: figures as PNG by name, those of `data_figures.draw`.
  """
  name = data_text.name(found)
  lead = f"{_many(found.images, 'image')} with {_many(found.captions, 'caption')}"
  rest = "".join(
    _section(heading, *_figure_part(key, alt, found, pictures))
    for key, (heading, alt) in _SECTIONS.items()
  )
  return page_style.PAGE.substitute(
    style=page_style.STYLE,
    title=_safe(f"{name}: {lead}"),
    name=_safe(name),
    lead=_safe(f"{lead}, looked at before anything is learnt from them."),
    about=_table_of(data_text.about(found)),
    counts=_counts(found),
    findings=_findings(odd),
    sections=_section("Examples", *_examples(chosen)) + rest,
    version=_safe(jaxt2i.__version__),
  )


def _safe(text: str) -> str:
  return html.escape(text, quote=True)


def _many(number: int, what: str) -> str:
  return f"{number:,} {what}" + ("" if number == 1 else "s")


def _encoded(figure: Figure, form: str) -> bytes:
  file = io.BytesIO()
  # Without dates, so that the same data gives the same files.
  metadata = {"CreationDate": None} if form == "pdf" else None
  figure.savefig(file, format=form, dpi=_DPI, metadata=metadata)
  return file.getvalue()


def _section(heading: str, *parts: str) -> str:
  return f"<section>\n<h2>{_safe(heading)}</h2>\n{''.join(parts)}</section>\n"


def _paragraph(text: str) -> str:
  return f"<p>{_safe(text)}</p>\n"


def _figure_part(
  key: str, alt: str, found: Exploration, pictures: Mapping[str, bytes]
) -> Iterator[str]:
  """What a section says, its figure if there is one, and what belongs to it."""
  yield _paragraph(getattr(data_text, key)(found))
  if key in pictures:
    yield (
      f'<figure><img alt="{_safe(alt)}" width="{_width(pictures[key])}" '
      f'src="{_inline(pictures[key])}">'
      f"<figcaption>{_links(key)}</figcaption></figure>\n"
    )
  if key == "words" and found.top_words:
    words = ((shortened(word, data_text.LONGEST), count) for word, count in found.top_words)
    items = (f"<li><bdi>{_safe(word)}</bdi> {count:,}</li>" for word, count in words)
    yield f'<ol class="words">{"".join(items)}</ol>\n'


def _links(key: str) -> str:
  links = (f'<a href="figures/{key}.{form}">{form.upper()}</a>' for form in ("png", "pdf"))
  return f"As a file: {' · '.join(links)}"


def _width(png: bytes) -> int:
  """How wide a figure is shown, in pixels of the page: all have letters of one size."""
  with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
    return round(image.width * 100 / _DPI)


def _inline(png: bytes) -> str:
  return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _table_of(facts: Mapping[str, str]) -> str:
  rows = (
    f'<tr><th scope="row">{_safe(key)}</th><td dir="auto">{_safe(value)}</td></tr>'
    for key, value in facts.items()
  )
  return f'<table class="facts">{"".join(rows)}</table>'


def _counts(found: Exploration) -> str:
  """Images, captions and words of every split."""
  head = ("split", "images", "captions", "words", "different words")
  lines = [(s.name, s.images, s.captions, s.running_words, s.distinct_words) for s in found.splits]
  lines.append(("all", found.images, found.captions, found.running_words, found.distinct_words))
  rows = "".join(
    f'<tr><th scope="row">{_safe(name)}</th>{"".join(f"<td>{n:,}</td>" for n in values)}</tr>'
    for name, *values in lines
  )
  titles = "".join(f'<th scope="col">{title}</th>' for title in head)
  return f'<table class="numbers"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>'


def _findings(odd: Sequence[Finding]) -> str:
  if not odd:
    return _paragraph("Nothing was left out, and nothing odd was found.")
  items = []
  for finding in odd:
    count = "" if finding.count is None else f"{finding.count:,} "
    named = ", ".join(
      f"<bdi>{_safe(shortened(name, _LONGEST))}</bdi>" for name in finding.names[:_NUM_NAMED]
    )
    more = len(finding.names) - _NUM_NAMED
    tail = f" and {more:,} more" if more > 0 else ""
    items.append(
      f"<li><strong>{_LEVELS[finding.level]}:</strong> {count}{_safe(finding.what)}"
      f"{f'<br><small>{named}{tail}</small>' if named else ''}</li>"
    )
  return f"<ul>{''.join(items)}</ul>"


def _examples(chosen: Examples) -> Iterator[str]:
  yield _paragraph(data_text.examples(chosen))
  cards = (_card(number, item) for number, item in enumerate(chosen.items, 1))
  yield f'<div class="cards">{"".join(cards)}</div>\n<p><small>{_links("examples")}</small></p>\n'


def _card(number: int, item: Example) -> str:
  """One example: its pictures, then what is said of it."""
  pictures = [("after", item.after)]
  if item.before is not None:
    pictures.insert(0, ("before", item.before))
  shown = "".join(
    f'<img class="{kind}" alt="Example {number} {kind} preparing" src="{_inline(_png(image))}">'
    for kind, image in pictures
  )
  texts = item.captions[:_NUM_CAPTIONS]
  lines = "".join(f'<li dir="auto">{_safe(shortened(text, _LONGEST))}</li>' for text in texts)
  more = len(item.captions) - _NUM_CAPTIONS
  tail = f"<p><small>and {_many(more, 'more caption')}</small></p>" if more > 0 else ""
  of = f"{item.width} × {item.height} pixels, in {', '.join(item.splits)}"
  return (
    f'<article><div class="pair">{shown}</div><p><small>{number}. '
    f"<bdi>{_safe(item.image_id)}</bdi>, {_safe(of)}</small></p><ul>{lines}</ul>{tail}</article>\n"
  )


def _png(image: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG")
  return file.getvalue()
