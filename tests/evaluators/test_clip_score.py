"""CLIPScore: the formula, on points at known angles."""

import numpy as np

from jaxt2i.evaluators.clip_score import clip_score


def test_is_a_hundred_times_the_cosine_and_never_negative():
  angles = np.array([0, np.pi / 3, np.pi / 2, np.pi])
  pictures = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
  captions = np.tile(np.array([[1, 0]], np.float32), (4, 1))
  np.testing.assert_allclose(clip_score(pictures, captions), [100, 50, 0, 0], atol=1e-4)
