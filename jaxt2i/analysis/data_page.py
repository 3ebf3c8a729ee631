"""One page about a data set that needs nothing beside it, its figures as files, and its numbers.

index.html          text, tables, figures and examples; no script, nothing loaded from elsewhere
figures/*.png, pdf  the same figures
exploration.json    the numbers
"""

import dataclasses
import io
import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import jaxt2i
from jaxt2i.analysis import data_examples, data_figures, data_text, exploration, page
from jaxt2i.analysis.data_examples import Example, Examples
from jaxt2i.analysis.exploration import Exploration
from jaxt2i.analysis.page import safe
from jaxt2i.analysis.words import shortened
from jaxt2i.data import split_files
from jaxt2i.data.check import Finding, check

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
  page.require_own(out, _NUMBERS)
  found = exploration.explore(directory, protocol)
  chosen = data_examples.choose(found, directory)
  odd = findings(found, directory)
  figures = data_figures.draw(found, chosen)
  pictures = {name: page.encoded(figure, "png", _DPI) for name, figure in figures.items()}
  try:
    folder = page.fresh_figures(out)
    (out / _NUMBERS).write_text(numbers(found, odd), encoding="utf-8")
    for name, figure in figures.items():
      (folder / f"{name}.png").write_bytes(pictures[name])
      (folder / f"{name}.pdf").write_bytes(page.encoded(figure, "pdf", _DPI))
    (out / "index.html").write_text(render(found, chosen, odd, pictures), encoding="utf-8")
  except OSError as error:
    raise page.unwritable(out, error) from error
  return out / "index.html"


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
  body = _BODY.substitute(
    name=safe(name),
    lead=safe(f"{lead}, looked at before anything is learnt from them."),
    about=page.facts(data_text.about(found)),
    counts=_counts(found),
    findings=_findings(odd),
    sections=_section("Examples", *_examples(chosen)) + rest,
    version=safe(jaxt2i.__version__),
  )
  return page.document(f"{name}: {lead}", body)


def _many(number: int, what: str) -> str:
  return f"{number:,} {what}" + ("" if number == 1 else "s")


def _section(heading: str, *parts: str) -> str:
  return f"<section>\n<h2>{safe(heading)}</h2>\n{''.join(parts)}</section>\n"


def _paragraph(text: str) -> str:
  return f"<p>{safe(text)}</p>\n"


def _figure_part(
  key: str, alt: str, found: Exploration, pictures: Mapping[str, bytes]
) -> Iterator[str]:
  """What a section says, its figure if there is one, and what belongs to it."""
  yield _paragraph(getattr(data_text, key)(found))
  if key in pictures:
    yield page.shown(pictures[key], _DPI, alt, _links(key))
  if key == "words" and found.top_words:
    words = ((shortened(word, data_text.LONGEST), count) for word, count in found.top_words)
    items = (f"<li><bdi>{safe(word)}</bdi> {count:,}</li>" for word, count in words)
    yield f'<ol class="words">{"".join(items)}</ol>\n'


def _links(key: str) -> str:
  links = (f'<a href="figures/{key}.{form}">{form.upper()}</a>' for form in ("png", "pdf"))
  return f"As a file: {' · '.join(links)}"


def _counts(found: Exploration) -> str:
  """Images, captions and words of every split."""
  head = ("split", "images", "captions", "words", "different words")
  lines = [(s.name, s.images, s.captions, s.running_words, s.distinct_words) for s in found.splits]
  lines.append(("all", found.images, found.captions, found.running_words, found.distinct_words))
  rows = "".join(
    f'<tr><th scope="row">{safe(name)}</th>{"".join(f"<td>{n:,}</td>" for n in values)}</tr>'
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
      f"<bdi>{safe(shortened(name, _LONGEST))}</bdi>" for name in finding.names[:_NUM_NAMED]
    )
    more = len(finding.names) - _NUM_NAMED
    tail = f" and {more:,} more" if more > 0 else ""
    items.append(
      f"<li><strong>{_LEVELS[finding.level]}:</strong> {count}{safe(finding.what)}"
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
    f'<img class="{kind}" alt="Example {number} {kind} preparing" src="{page.inline(_png(image))}">'
    for kind, image in pictures
  )
  texts = item.captions[:_NUM_CAPTIONS]
  lines = "".join(f'<li dir="auto">{safe(shortened(text, _LONGEST))}</li>' for text in texts)
  more = len(item.captions) - _NUM_CAPTIONS
  tail = f"<p><small>and {_many(more, 'more caption')}</small></p>" if more > 0 else ""
  of = f"{item.width} × {item.height} pixels, in {', '.join(item.splits)}"
  return (
    f'<article><div class="pair">{shown}</div><p><small>{number}. '
    f"<bdi>{safe(item.image_id)}</bdi>, {safe(of)}</small></p><ul>{lines}</ul>{tail}</article>\n"
  )


def _png(image: np.ndarray) -> bytes:
  file = io.BytesIO()
  Image.fromarray(image).save(file, format="PNG")
  return file.getvalue()


_BODY = string.Template(
  """<header>
<h1><bdi>$name</bdi></h1>
<p>$lead</p>
</header>
<main>
<section>
<h2>What this is</h2>
<div class="wide">$about</div>
</section>
<section>
<h2>How much there is</h2>
<div class="wide">$counts</div>
<p><small>Training uses “train” alone; “val” is for choosing settings, the others are for testing.
In the line “all” an image or word that several splits share counts once.</small></p>
</section>
<section>
<h2>What was left out, and what to know</h2>
$findings
</section>
$sections
</main>
<footer>
<p>A word is a run of letters and digits, in lower case, or an emoji; “man's” is two, and where a
language writes without spaces each letter is one. Made by jaxt2i $version from prepared data:
<code>jaxt2i data explore</code>. The numbers are in <a href="exploration.json">exploration.json</a>
beside this page.</p>
</footer>
"""
)
