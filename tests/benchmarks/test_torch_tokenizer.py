"""The peer of PyTorch and vector-quantize-pytorch: what it gives back, and that it learns."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is an extra of the benchmarks only")
pytest.importorskip("vector_quantize_pytorch", reason="an extra of the benchmarks only")

from benchmarks.jax_tokenizer import JaxTokenizer, make_config  # noqa: E402
from benchmarks.torch_tokenizer import TorchTokenizer  # noqa: E402
from jaxt2i.data import splits  # noqa: E402
from tests.photos import entries, prepared_photos  # noqa: E402

torch.set_num_threads(1)

STEPS = 4


@pytest.fixture(scope="module", params=["fsq", "ema"])
def peer(request: pytest.FixtureRequest) -> TorchTokenizer:
  """After four steps on one batch."""
  learner = TorchTokenizer(request.param, seed=0)
  learner.start(STEPS)
  for _ in range(STEPS):
    learner.step(_images())
  return learner


def _images() -> np.ndarray:
  """Sixteen photos of large patches."""
  patches = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3)).astype(np.uint8)
  return patches.repeat(16, axis=1).repeat(16, axis=2)


def _mse(learner: TorchTokenizer) -> float:
  decoded, _ = learner.reconstruct(_images())
  return float(np.mean((decoded.astype(float) - _images()) ** 2))


def test_it_learns(peer):
  fresh = TorchTokenizer(peer._quantizer, seed=0)
  fresh.start(STEPS)
  if peer._quantizer == "ema":
    fresh._model.quantizer.load_state_dict(peer._model.quantizer.state_dict())  # has been clustered
  assert _mse(peer) < 0.9 * _mse(fresh)


def test_it_starts_anew(peer):
  learners = [TorchTokenizer(peer._quantizer, seed=0) for _ in range(2)]
  learners[1].start(STEPS)
  learners[1].step(_images())
  for learner in learners:
    learner.start(STEPS)
  first, second = (dict(learner._model.state_dict()) for learner in learners)
  assert all(torch.equal(first[name], second[name]) for name in first)


def test_pictures_are_what_averaged_weights_make_of_the_newest_codes(peer):
  decoded, tokens = peer.reconstruct(_images())
  assert decoded.dtype == np.uint8
  assert tokens.shape == (16, 64)
  assert tokens.min() >= 0
  assert tokens.max() < peer.codebook_size
  assert len(np.unique(tokens)) > 1
  quantize = peer._model.quantizer.quantize
  if peer._quantizer == "ema":
    codes = quantize.codebook[torch.from_numpy(tokens)]
  else:
    codes = quantize.indices_to_codes(torch.from_numpy(tokens))
  with torch.no_grad():
    y = peer._step.ema_model.decoder(codes.unflatten(1, (8, 8))).numpy()
  expected = np.clip(np.round((y + 1) * 127.5), 0, 255)
  assert np.abs(decoded - expected).max() <= 1
  assert np.mean(decoded == expected) > 0.99


def test_the_loss_is_of_pixels_and_of_the_encoder(peer):
  """MSE + 0.1 MAE on [-1, 1], and what the library asks of the encoder under EMA alone."""
  model = peer._model
  state = {name: value.clone() for name, value in model.state_dict().items()}
  x = _images() / np.float32(127.5) - 1
  with torch.no_grad():
    y, _, added = model(torch.from_numpy(x))
    model.load_state_dict(state)  # a step in training moves the codebook
    loss = model.loss(torch.from_numpy(_images())).item()
    model.load_state_dict(state)
  error = y.numpy() - x
  expected = np.mean(error**2) + 0.1 * np.mean(np.abs(error)) + added.item()
  assert loss == pytest.approx(expected, rel=1e-5)
  assert (added.item() > 0) == (peer._quantizer == "ema")


def test_both_sides_have_as_many_codes_and_about_as_many_parameters(peer, tmp_path):
  folder = prepared_photos(tmp_path, entries(tmp_path / "files", 20), size=64)
  splits.make(folder, "image")
  ours = JaxTokenizer(make_config(peer._quantizer, {"data.path": str(folder)}))
  assert ours.codebook_size == peer.codebook_size
  assert 0.8 < ours.num_parameters / peer.num_parameters < 1.2
