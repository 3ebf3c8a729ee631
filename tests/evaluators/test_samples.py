"""Fixed prompts and seeds, drawn while a prior learns."""

from PIL import Image

from jaxt2i.evaluators.samples import PER_PROMPT, Samples
from jaxt2i.pictures import labelled_grid

PROMPTS = ("large red star left of small blue heart", "", "maçã")


def test_writes_one_grid_a_step_and_gives_it(prior_pipeline, tmp_path):
  samples = Samples(PROMPTS, tmp_path / "samples")
  shown = samples(prior_pipeline, 20)
  samples(prior_pipeline, 1_000_000)
  names = sorted(path.name for path in (tmp_path / "samples").iterdir())
  assert names == ["0000020.png", "1000000.png"]
  one, other = ((tmp_path / "samples" / name).read_bytes() for name in names)
  assert one == other  # the same weights, prompts and seeds
  drawings = prior_pipeline(PROMPTS, n=PER_PROMPT, seed=0, temperature=0.8)
  expected = labelled_grid(drawings.images, PROMPTS)
  with Image.open(tmp_path / "samples" / names[0]) as image:
    assert image.tobytes() == expected.tobytes() == shown["pictures"].tobytes()
    assert image.text["prompts"] == " | ".join(PROMPTS)
    assert image.text["seed"] == "0"
