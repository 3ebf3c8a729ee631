"""Configs that contradict themselves are refused in one line before any data is read."""

import pytest

from jaxt2i import data

TINY = "--config=configs/vqvae.py:fsq,vit,shapes,tiny"
PRIOR = "--config=configs/prior.py:shapes,tiny"
DUAL = "--config=configs/dual_encoder.py:shapes,tiny"


@pytest.fixture
def no_data(monkeypatch):
  """Data that may not be read."""
  monkeypatch.setattr(data, "load", lambda *args, **options: pytest.fail("data was read"))


@pytest.mark.parametrize(
  ("given", "words"),
  [
    (["loop.patience=2"], ["patience is 2 and watch is ''"]),
    (["loop.watch=val/perceptual"], ["config.loop.watch is 'val/perceptual'", "patience is 0"]),
    (["loop.watch=val/psnr", "loop.patience=2"], ["'val/psnr'", "no number of which less is"]),
    (["loop.checkpoint_every=3", "loop.log_every=2"], ["checkpoint_every is 3", "(2)"]),
    (["adversarial.weight=0.1", "adversarial.start_step=2"], ["start_step is 2", "(2)"]),
    (
      ["adversarial.weight=0.1", "adversarial.start_step=1", "adversarial.discriminator_warmup=2"],
      ["discriminator_warmup is 2", "from 0 to start_step (1)"],
    ),
    (["loss.perceptual_weight=1.0", "data.image_size=16"], ["image_size is 16", "at least"]),
    (["data.image_size=68"], ["image_size is 68", "multiple of 8"]),
    (["augment.crop=64"], ["config.augment.crop is 64", "64 pixels"]),
    (["model.network.heads=3"], ["heads is 3", "divide"]),
    (["latent_goals.distribution=flat"], ["'flat'"]),
    (["optimizer.learning_rate=-1.0"], ["learning_rate is -1.0"]),
  ],
)
def test_contradictions_of_a_tokenizer_are_refused_before_data_is_read(
  refused, no_data, given, words, tmp_path
):
  code = 1 if words[0].startswith(("patience", "checkpoint_every")) else 2
  line = refused(TINY, *(f"--config.{each}" for each in given), code=code)
  for word in words:
    assert word in line
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  ("config", "given", "words"),
  [
    (PRIOR, ["loss.random_order_steps=5"], ["random_order_steps is 5", "any_order"]),
    (PRIOR, ["model.any_order=True"], ["random_order_steps is 0", "any_order"]),
    (PRIOR, ["loop.watch=val/psnr", "loop.patience=2"], ["'val/psnr'", "val/nll, train/nll"]),
    (PRIOR, ["loop.watch=drawn/fd", "loop.patience=2"], ["'drawn/fd'", "(val/nll, train/nll)"]),
    (PRIOR, ["text.kind=minilm"], ["config.text has max_length, vocab_size", "kind 'minilm'"]),
    (PRIOR, ["text.kind=words"], ["config.text.kind is 'words'", "'word'"]),
    (PRIOR, ["model.text.name=features"], ["config.model.text.name is 'features'"]),
    (PRIOR, ["model.positions=rotary", "model.heads=16"], ["heads is 16", "rotary"]),
    (PRIOR, ["model.heads=5"], ["heads is 5", "divide"]),
    (PRIOR, ["prompts=()"], ["config.prompts is empty"]),
    (PRIOR, ["evaluation.metrics=('attribute',)"], ["'attribute'", "'attributes'"]),
    (DUAL, ["loop.watch=val/nll", "loop.patience=2"], ["'val/nll'", "no number of which less"]),
    (DUAL, ["model.text.layers=0"], ["config.model.text.layers is 0"]),
  ],
)
def test_contradictions_of_what_reads_captions_are_refused_before_data_is_read(
  refused, no_data, tokenizer_run, config, given, words
):
  tokenizer = [f"--config.tokenizer={tokenizer_run}"] if config == PRIOR else []
  line = refused(config, *tokenizer, *(f"--config.{each}" for each in given), code=2)
  for word in words:
    assert word in line


def test_a_config_of_ones_own_that_lacks_a_part_or_has_one_too_many(refused, no_data, tmp_path):
  own = tmp_path / "own.py"
  base = "from configs import vqvae\ndef get_config():\n  config = vqvae.get_config('fsq,tiny')\n"
  for change, words in (
    ("del config.optimizer", "config lacks optimizer"),
    ("del config.data.name", "config.data.name is None: must be str"),
    ("del config.adversarial.weight", "config.adversarial lacks"),
    ("del config.model.quantizer", "config.model lacks quantizer"),
    ("config.batchsize = 3", "config.batchsize is not an option; did you mean 'batch_size'?"),
    ("config = dict(config, batch_size='4')", "config.batch_size is '4': must be int"),
    ("config = dict(config, loop=3)", "config.loop is 3: must be dict"),
    ("config = dict(config, model=dict(config.model, network=3))", "config.model.network is 3"),
    ("config.task = 'tokeniser'", "config.task is 'tokeniser': must be one of 'tokenizer'"),
    ("raise ValueError('two\\nlines')", "two lines"),
  ):
    wrapped = f"  {change}\n  from ml_collections import ConfigDict\n  return ConfigDict(config)\n"
    own.write_text(base + wrapped)
    assert words in refused(f"--config={own}", code=2), change
  own.write_text("def get_config():\n  return None\n")
  refused(f"--config={own}", code=2)
