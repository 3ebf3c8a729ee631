"""`jaxt2i analyze latents` as typed: the page, its numbers, and one-line refusals."""

import base64
import hashlib
import html.parser
import json
import re
import shutil

import pytest

from jaxt2i import data
from jaxt2i.analysis import latent_report, latent_set
from jaxt2i.cli import main
from tests.runs import config_of
from tests.sources import Recaptioned

SECTIONS = ["complete", "sparse", "sampleable", "distribution", "smooth", "organised", "words"]
VOID = {"meta", "img", "br"}


class Parsed(html.parser.HTMLParser):
  """Tags with their attributes, what is written, and whether every tag is closed in its place."""

  def __init__(self, page: str):
    super().__init__(convert_charrefs=True)
    self.tags: list[tuple[str, dict]] = []
    self.text: dict[str, str] = {}
    self._open: list[str] = []
    self.feed(page)
    self.close()
    assert self._open == []

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self._open.append(tag)

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    where = self._open[-1] if self._open else ""
    self.text[where] = self.text.get(where, "") + data

  def named(self, tag):
    return [attrs for name, attrs in self.tags if name == tag]


def one_error_line(capsys) -> str:
  err = capsys.readouterr().err
  assert err.startswith("jaxt2i: error: ")
  assert err.count("\n") == 1
  return err


@pytest.fixture(scope="module")
def made(prior_run, tmp_path_factory):
  """The report of a prior, in another folder."""
  out = tmp_path_factory.mktemp("report") / "latents"
  assert main(["analyze", "latents", f"--workdir={prior_run}", f"--out={out}"]) == 0
  return out


@pytest.fixture
def page(made):
  return Parsed((made / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tmp_path):
  def copied(run, **changes):
    workdir = tmp_path / "copied"
    shutil.copytree(run, workdir)
    saved = config_of(workdir)
    for key, value in changes.items():
      saved[key] = value
    (workdir / "config.json").write_text(json.dumps(saved))
    return workdir

  return copied


def test_numbers_of_a_prior(made, prior_run):
  numbers = json.loads((made / "latents.json").read_text(encoding="utf-8"))
  assert [key for key in numbers if key not in ("about", "goals", "maps")] == SECTIONS
  measures = [
    (name, measure) for key in SECTIONS for name, measure in numbers[key]["measures"].items()
  ]
  assert len({name for name, _ in measures}) == len(measures) > 40
  for _, measure in measures:
    assert measure["means"].endswith(".")
    assert "split val: 16 images" in measure["protocol"]
  goals = {goal["property"]: goal for goal in numbers["goals"]}
  assert goals.keys() == {k for k, v in config_of(prior_run)["latent_goals"].items() if v}
  assert goals["complete"]["reached"] is True
  assert numbers["sampleable"]["measures"]["bits.real"]["value"] > 0


def test_page_needs_nothing_beside_it(made, page):
  for tag, attrs in page.tags:
    assert tag not in ("link", "iframe", "object", "base")
    assert not [name for name in attrs if name.startswith("on")]
    assert "src" not in attrs or attrs["src"].startswith("data:image/png;base64,")
  files = {path.name for path in (made / "figures").iterdir()}
  linked = {attrs["href"] for attrs in page.named("a")}
  assert linked == {"latents.json"} | {f"figures/{name}" for name in files}
  for name in files:
    assert (made / "figures" / name).read_bytes().startswith(b"%PDF")
  assert len(files) >= 13
  assert all(attrs["alt"] for attrs in page.named("img"))
  assert not re.search(r"https?://", (made / "index.html").read_text().replace("data:", ""))


def test_script_is_the_one_that_the_page_allows(made, page):
  (policy,) = [m["content"] for m in page.named("meta") if "http-equiv" in m]
  text = (made / "index.html").read_text(encoding="utf-8")
  (code,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
  (data,) = re.findall(r'<script type="application/json" id="maps">(.*?)</script>', text)
  digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
  assert f"script-src 'sha256-{digest}'" in " ".join(policy.split())
  maps = json.loads(data)
  assert {attrs["data-map"] for attrs in page.named("div") if "data-map" in attrs} == set(maps)
  assert len(maps["images"]["points"]) == len(maps["images"]["texts"]) == 16


def test_a_report_is_replaced_and_the_same_again(made, prior_run, tmp_path):
  again = tmp_path / "again"
  shutil.copytree(made, again)
  (again / "figures" / "old.pdf").write_text("of an earlier report")
  assert main(["analyze", "latents", f"--workdir={prior_run}", f"--out={again}"]) == 0
  for name in ("latents.json", "index.html", "figures/laws.pdf"):
    assert (again / name).read_bytes() == (made / name).read_bytes()
  assert not (again / "figures" / "old.pdf").exists()


def test_a_tokenizer_of_another_split_and_without_goals(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run)
  saved = config_of(workdir)
  del saved["latent_goals"]
  (workdir / "config.json").write_text(json.dumps(saved))
  assert main(["analyze", "latents", f"--workdir={workdir}", "--split=train"]) == 0
  out = capsys.readouterr().out
  path = workdir / "analysis" / "latents"
  assert f"page: {path / 'index.html'}" in out
  assert "No goals: this run's config has no latent_goals." in out
  numbers = json.loads((path / "latents.json").read_text())
  assert numbers["goals"] == []
  assert "This run is a tokenizer alone" in " ".join(numbers["sampleable"]["notes"])
  half = config_of(tokenizer_run)["data"]["num_train"] // 2
  assert f"split train: {half} images" in numbers["about"]["Images"]


def test_goals_are_told_property_by_property(page):
  cells = page.text["td"]
  assert "at least 0.9" in cells
  assert "at most 0.6" in cells
  assert re.search("reached|cannot be said", cells)


def test_a_tokenizer_needs_no_captions_and_data_no_labels(
  tokenizer_run, copy, tmp_path, monkeypatch, capsys
):
  bare(monkeypatch)
  out = tmp_path / "out"
  workdir = copy(tokenizer_run, latent_goals={"organised": 0.5})
  assert main(["analyze", "latents", f"--workdir={workdir}", f"--out={out}"]) == 0
  printed = capsys.readouterr().out
  assert "Not measured against labels: the data has no labels" in printed
  assert re.search(r"organised +at least 0.5 +– +cannot be said", printed)
  numbers = json.loads((out / "latents.json").read_text(encoding="utf-8"))
  assert [key for key in numbers if key not in ("about", "goals", "maps")] == SECTIONS
  assert "the data has no labels" in Parsed((out / "index.html").read_text()).text["p"]


def bare(monkeypatch):
  """Data without captions or attributes."""
  original = data.load

  def load(split, **options):
    return Recaptioned(original(split, **options), (), {})

  monkeypatch.setattr(data, "load", load)


# --- refusals ---


def test_a_prior_draws_for_no_image_without_a_caption(prior_run, tmp_path, monkeypatch, capsys):
  bare(monkeypatch)
  arguments = [f"--workdir={prior_run}", f"--out={tmp_path / 'out'}"]
  assert main(["analyze", "latents", *arguments]) == 1
  assert "has no caption, or an empty one" in one_error_line(capsys)


def test_no_run(tmp_path, capsys):
  assert main(["analyze", "latents", f"--workdir={tmp_path}"]) == 1
  assert "holds no run" in one_error_line(capsys)


def test_an_unknown_split(tokenizer_run, tmp_path, capsys):
  out = tmp_path / "out"
  arguments = [f"--workdir={tokenizer_run}", "--split=test", f"--out={out}"]
  assert main(["analyze", "latents", *arguments]) == 1
  assert "compositional, train, val" in one_error_line(capsys)
  assert not out.exists()


def test_a_dual_encoder(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run, task="dual_encoder")
  assert main(["analyze", "latents", f"--workdir={workdir}"]) == 1
  assert "is a dual encoder" in one_error_line(capsys)


def test_changed_data(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run, data_fingerprint="0" * 64)
  assert main(["analyze", "latents", f"--workdir={workdir}"]) == 1
  assert "has changed since training" in one_error_line(capsys)


def test_an_unknown_goal(tokenizer_run, copy, capsys):
  workdir = copy(tokenizer_run, latent_goals={"smoth": 0.3})
  assert main(["analyze", "latents", f"--workdir={workdir}"]) == 2
  assert "config.latent_goals.smoth is not an option" in one_error_line(capsys)


def test_too_few_images(tokenizer_run, monkeypatch, capsys):
  monkeypatch.setattr(latent_set, "LEAST_IMAGES", 20)
  assert main(["analyze", "latents", f"--workdir={tokenizer_run}"]) == 1
  assert "the split 'val' has 16 images: must have 20 or more" in one_error_line(capsys)
  monkeypatch.setattr(latent_report, "LEAST_IMAGES", 200)
  assert main(["analyze", "latents", f"--workdir={tokenizer_run}", "--split=train"]) == 1
  assert "must have 400 or more" in one_error_line(capsys)


def test_a_folder_with_other_files_or_none_at_all(tokenizer_run, tmp_path, capsys):
  (tmp_path / "notes.txt").write_text("mine")
  assert main(["analyze", "latents", f"--workdir={tokenizer_run}", f"--out={tmp_path}"]) == 1
  assert "has other files in it" in one_error_line(capsys)
  file = tmp_path / "notes.txt"
  assert main(["analyze", "latents", f"--workdir={tokenizer_run}", f"--out={file}"]) == 1
  assert f"cannot write to {file}" in one_error_line(capsys)


def test_what_to_analyze_must_be_said(capsys):
  assert main(["analyze"]) == 2
  assert "latents" in one_error_line(capsys)
