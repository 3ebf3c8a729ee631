"""Which figures a report on a latent space has, in which section, and what they show."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from jaxt2i.analysis import figures, latent_curves, latent_maps, latent_sheets, latents
from jaxt2i.analysis.latent_maps import Map
from jaxt2i.analysis.latent_report import LatentReport
from jaxt2i.analysis.latent_words import Pair
from jaxt2i.pipeline import Pipeline

CAPTIONS = {
  "reconstructions": "Images through the tokens and back.",
  "spectrum": "Share of the variance that so many principal axes hold.",
  "usage": "How often codes are used.",
  "positions": "Where in the image the codes vary; entropy without correction of its bias.",
  "samples": "Tokens drawn in several ways, decoded.",
  "distances": "How far each kind of sample is from the real images.",
  "laws": "Frequency of the codes by rank, and three laws.",
  "swaps": "Distance of a code from the one that it replaces, and what that changes.",
  "swap_edits": "One token replaced by other codes.",
  "ways": "From one image to another through code vectors, tokens and pixels.",
  "probes": "Labels read by a linear classifier.",
  "pairs": "Codes and words that go together, with patches of images that have both.",
  "atlas": "Codes and the real patches that they stand for.",
  "map_images": "Images by t-SNE of their latents.",
  "map_codes": "Codes by t-SNE of their vectors.",
}
_SECTIONS = {
  "complete": ("reconstructions", "spectrum"),
  "sparse": ("usage", "positions", "atlas"),
  "sampleable": ("samples", "distances"),
  "distribution": ("laws",),
  "smooth": ("swaps", "swap_edits", "ways"),
  "organised": ("probes", "map_images"),
  "words": ("pairs", "map_codes"),
}


def of_section(key: str) -> tuple[str, ...]:
  """Names of the figures of a section."""
  return _SECTIONS[key]


def draw(report: LatentReport, pipeline: Pipeline) -> tuple[dict[str, Figure], dict[str, Map]]:
  """All figures by name, without those that there is nothing to show in, and both maps."""
  found = report.found
  alone = latents.atlas(pipeline, found.grid)
  maps = {
    "images": latent_maps.of_images(found),
    "codes": latent_maps.of_codes(found, alone),
  }
  drawn: Mapping[str, Figure | None] = {
    "reconstructions": _reconstructions(report),
    "spectrum": latent_curves.spectrum(report.section("complete")),
    "usage": figures.code_usage(found.counts),
    "positions": _positions(report),
    "atlas": latent_sheets.real_patches(found, alone),
    "samples": latent_sheets.samples(report.samples),
    "distances": latent_curves.distances(report.section("sampleable")),
    "laws": latent_curves.laws(report.section("distribution")),
    "swaps": _swaps(report),
    "swap_edits": latent_sheets.swaps(pipeline, found) if len(found.used) > 2 else None,
    "ways": latent_sheets.ways(pipeline, found),
    "probes": latent_curves.probes(report.section("organised")),
    "pairs": _pairs(report),
    "map_images": latent_sheets.scattered(
      maps["images"].points, maps["images"].pictures, "Images by t-SNE of their latents"
    ),
    "map_codes": latent_sheets.scattered(
      maps["codes"].points, maps["codes"].pictures, "Codes by t-SNE of their vectors"
    ),
  }
  return {name: figure for name, figure in drawn.items() if figure is not None}, maps


def _reconstructions(report: LatentReport) -> Figure:
  found = report.found
  error = (found.images.astype(np.float32) - found.decoded) / 255
  psnr = -10 * np.log10(np.maximum(np.square(error).mean(axis=(1, 2, 3)), 1e-10))
  chosen = latents.worst_to_best(psnr, 8)
  return figures.reconstructions(found.images[chosen], found.decoded[chosen], psnr[chosen])


def _positions(report: LatentReport) -> Figure:
  found = report.found
  mean = np.round(found.images.mean(axis=0)).astype(np.uint8)
  entropy = latents.entropy_by_position(found.tokens)
  distinct = latents.distinct_by_position(found.tokens)
  return figures.by_position(mean, entropy, distinct, most=min(len(found), len(found.codes)))


def _swaps(report: LatentReport) -> Figure | None:
  section = report.section("smooth")
  return latent_curves.swaps(section) if section.measures else None


def _pairs(report: LatentReport) -> Figure | None:
  telling = [Pair(**pair) for pair in report.section("words").tables.get("pairs", [])]
  return latent_sheets.pairs(report.found, telling) if telling else None
