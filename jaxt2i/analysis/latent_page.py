"""One page about a latent space that needs nothing beside it, its figures as files, its numbers.

index.html      answers, tables, figures, maps; its script is its own, nothing is loaded
figures/*.pdf   the figures
latents.json    the numbers
"""

import json
import os
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

import jaxt2i
from jaxt2i.analysis import latent_maps, latent_script, page
from jaxt2i.analysis.latent_drawing import CAPTIONS, draw, of_section
from jaxt2i.analysis.latent_goals import REACHED, Verdict
from jaxt2i.analysis.latent_maps import Map
from jaxt2i.analysis.latent_report import LatentReport
from jaxt2i.analysis.measures import Measure, Section, shown
from jaxt2i.analysis.page import safe
from jaxt2i.errors import UserError
from jaxt2i.pipeline import Pipeline

_NUMBERS = "latents.json"
_DPI = 120
_LOOKS = {True: "verdict-yes", False: "verdict-no", None: ""}


def require_folder(out: Path) -> None:
  """UserError unless a report may be written there: before minutes of work."""
  page.require_own(out, _NUMBERS)
  there = next(path for path in (out, *out.absolute().parents) if path.exists())
  if not there.is_dir() or not os.access(there, os.W_OK):
    raise UserError(
      f"cannot write to {out} ({there} is no folder to write to): choose another --out."
    )


def write(report: LatentReport, pipeline: Pipeline, out: Path) -> Path:
  """Draws the figures and writes everything; what an earlier report left there is replaced.

  Args:
    report: the numbers.
    pipeline: that they are of.
    out: folder to write to.

  Returns:
    The page.

  Raises:
    UserError: it cannot be written.
  """
  figures, maps = draw(report, pipeline)
  pictures = {name: page.encoded(figure, "png", _DPI) for name, figure in figures.items()}
  numbers = report.json() | {
    "maps": {name: {"trustworthiness": m.trust} for name, m in maps.items()}
  }
  try:
    out.mkdir(parents=True, exist_ok=True)
    # First of all, for it tells that what else lies there is a report's.
    text = json.dumps(_plain(numbers), indent=2, ensure_ascii=False, allow_nan=False)
    (out / _NUMBERS).write_text(text + "\n", encoding="utf-8")
    folder = page.fresh_figures(out)
    for name, figure in figures.items():
      (folder / f"{name}.pdf").write_bytes(page.encoded(figure, "pdf", _DPI))
    (out / "index.html").write_text(render(report, pictures, maps), encoding="utf-8")
  except OSError as error:
    raise page.unwritable(out, error) from error
  return out / "index.html"


def render(report: LatentReport, pictures: Mapping[str, bytes], maps: Mapping[str, Map]) -> str:
  """The page as HTML.

  Args:
    report: the numbers.
    pictures: figures as PNG by name, those of `latent_drawing.draw`.
    maps: to be looked at, by name.
  """
  title = f"Latent space of {report.about['Run']}"
  body = _BODY.substitute(
    title=safe(title),
    about=page.facts(report.about),
    verdicts=_verdicts(report),
    sections="".join(_section(section, report, pictures) for section in report.sections),
    maps="".join(_map(name, found) for name, found in maps.items()),
    data=latent_maps.script_data(dict(maps)),
    script=latent_script.SCRIPT,
    version=safe(jaxt2i.__version__),
  )
  return page.document(title, body, style=latent_script.STYLE, script=latent_script.SCRIPT)


def _plain(value: object) -> object:
  """JSON-able: NaN and infinity become null."""
  if isinstance(value, Mapping):
    return {key: _plain(inner) for key, inner in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(inner) for inner in value]
  return None if isinstance(value, float) and value - value != 0 else value


def _verdicts(report: LatentReport) -> str:
  if not report.verdicts:
    return "<p>No goals: this run's config has no <code>latent_goals</code>.</p>"
  rows = "".join(_verdict(verdict, report) for verdict in report.verdicts)
  heads = "".join(
    f'<th scope="col">{h}</th>' for h in ("property", "wanted", "measured", "verdict")
  )
  return (
    f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    "<p><small>What a property means stands at the measure of its name below. “Cannot be said”: it "
    "was not measured, or its 95 % interval includes the threshold.</small></p>"
  )


def _verdict(verdict: Verdict, report: LatentReport) -> str:
  measured = "not measured" if verdict.measured is None else shown(verdict.measured)
  for section in report.sections:
    for measure in section.measures:
      if measure.name == verdict.property and measure.interval is not None:
        measured += f" ({_interval(measure)})"
  kind, word = _LOOKS[verdict.reached], REACHED[verdict.reached]
  return (
    f'<tr><th scope="row">{safe(verdict.property)}</th><td>{safe(verdict.wanted)}</td>'
    f'<td>{safe(measured)}</td><td class="{kind}">{word}</td></tr>'
  )


def _section(section: Section, report: LatentReport, pictures: Mapping[str, bytes]) -> str:
  parts = [f'<p class="answer">{safe(section.answer)}</p>\n']
  parts += [f"<p>{safe(note)}</p>\n" for note in section.notes]
  parts += [_figure(name, pictures[name]) for name in of_section(section.key) if name in pictures]
  if section.key == "words":
    parts += _pairs(report)
  if section.measures:
    rows = "".join(_row(measure) for measure in section.measures)
    heads = "<th>measure</th><th>value</th><th>95 % interval</th><th>what it says</th>"
    parts.append(
      f'<details><summary>All numbers</summary><div class="wide"><table><thead><tr>{heads}</tr>'
      f"</thead><tbody>{rows}</tbody></table></div></details>\n"
    )
  heading = f"<h2>{safe(section.question)}</h2>"
  return f'<section id="{section.key}">\n{heading}\n{"".join(parts)}</section>\n'


def _row(measure: Measure) -> str:
  unit = f" {measure.unit}" if measure.unit else ""
  return (
    f"<tr><td><code>{safe(measure.name)}</code></td><td>{safe(shown(measure.value) + unit)}</td>"
    f"<td>{safe(_interval(measure))}</td><td>{safe(measure.means)}"
    f"<small>{safe(measure.protocol)}</small></td></tr>"
  )


def _interval(measure: Measure) -> str:
  return "" if measure.interval is None else " to ".join(shown(x) for x in measure.interval)


def _figure(name: str, png: bytes) -> str:
  caption = CAPTIONS[name]
  link = f'{safe(caption)} <a href="figures/{name}.pdf">PDF</a>'
  return page.shown(png, _DPI, caption, link)


def _pairs(report: LatentReport) -> Iterator[str]:
  pairs = report.section("words").tables.get("pairs", [])
  if not pairs:
    return
  rows = "".join(
    f"<tr><td>{pair['code']}</td><td><bdi>{safe(pair['word'])}</bdi></td>"
    f"<td>{pair['bits']:.3f}</td><td>{shown(pair['z'])}</td><td>{pair['images_with_both']} of "
    f"{pair['images_with_word']} / {pair['images_with_code']}</td></tr>"
    for pair in pairs
  )
  heads = (
    "<th>code</th><th>word</th><th>bits</th><th>z</th><th>images with both, of word / code</th>"
  )
  yield (
    f'<details><summary>These pairs as a table</summary><div class="wide"><table><thead><tr>{heads}'
    f"</tr></thead><tbody>{rows}</tbody></table></div></details>\n"
  )


def _map(name: str, found: Map) -> str:
  return (
    f"<h3>{name.capitalize()}</h3>\n<p><small>Trustworthiness {shown(found.trust)}: near 1, "
    f"neighbours here are neighbours in the latent space.</small></p>\n"
    f'<div class="map" data-map="{name}"><p><button type="button" data-zoom="1.5">+</button>'
    '<button type="button" data-zoom="0.66">−</button></p>'
    f'<canvas tabindex="0" role="img" aria-label="Map of the {name}"></canvas>'
    '<div class="tip" hidden><p dir="auto"></p><canvas hidden></canvas><canvas hidden></canvas>'
    "</div></div>\n"
  )


_BODY = string.Template(
  """<header>
<h1><bdi>$title</bdi></h1>
</header>
<main>
<section>
<h2>What this is</h2>
<div class="wide">$about</div>
</section>
<section>
<h2>What was wanted, and what it is</h2>
$verdicts
</section>
$sections
<section id="maps-section">
<h2>Maps</h2>
<p>By t-SNE: what lies near is alike, distances between far ones mean nothing. Point at a picture
for what it is; the wheel zooms, dragging moves, the arrow keys go from one to the next.</p>
$maps
</section>
</main>
<footer>
<p>Made by jaxt2i $version: <code>jaxt2i analyze latents</code>. All numbers, with what they mean
and how they were taken, are in <a href="latents.json">latents.json</a> beside this page.</p>
</footer>
<script type="application/json" id="maps">$data</script>
<script>$script</script>
"""
)
