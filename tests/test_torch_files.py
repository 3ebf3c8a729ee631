"""PyTorch's files without PyTorch: tensors as they were saved, nothing executed."""

import io
import pickle
import struct

import numpy as np
import pytest

from jaxt2i import torch_files

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
HEAD = pickle.dumps(MAGIC, 2) + pickle.dumps(VERSION, 2) + pickle.dumps({}, 2)


def text(value):
  return b"X" + struct.pack("<i", len(value)) + value.encode()


def number(value):
  return b"J" + struct.pack("<i", value)


def numbers(values):
  return b"(" + b"".join(map(number, values)) + b"t"


def file_of(shape, strides, *, offset=0, stored=6, storage="FloatStorage", kind="storage"):
  """A state dict {"w": …} over the storage 0, 1, 2 …, written opcode by opcode."""
  named = text(kind) + f"ctorch\n{storage}\n".encode() + text("k") + text("cpu")
  tensor = b"ctorch._utils\n_rebuild_tensor_v2\n("
  tensor += b"(" + named + number(stored) + b"NtQ"
  tensor += number(offset) + numbers(shape) + numbers(strides) + b"\x89}tR"
  weights = b"\x80\x02ccollections\nOrderedDict\n)R(" + text("w") + tensor + b"u."
  dtype = "<i8" if storage == "LongStorage" else "<f4"
  data = struct.pack("<q", stored) + np.arange(stored).astype(dtype).tobytes()
  return HEAD + weights + pickle.dumps(["k"], 2) + data


def test_strides_and_offsets_are_followed():
  found = torch_files.read(file_of((2, 2), (1, 2), offset=1))
  np.testing.assert_array_equal(found["w"], [[1, 3], [2, 4]])
  assert found["w"].dtype == np.float32
  found = torch_files.read(file_of((), (), offset=5, storage="LongStorage"))
  assert found["w"].dtype == np.int64
  assert found["w"] == 5


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(shape=(3, 3), strides=(2, 1)), "reaches to number 6 of a storage of 6"),
    (dict(shape=(2,), strides=(1,), offset=5), "reaches to number 6"),
    (dict(shape=(2,), strides=(-1,), offset=3), "a tensor of shape"),
    (dict(shape=(2,), strides=(1,), offset=-1), "a tensor of shape"),
    (dict(shape=(2, 2), strides=(1,)), "a tensor of shape"),
    (dict(shape=(2,), strides=(1,), storage="HalfStorage"), "asks for torch.HalfStorage"),
    (dict(shape=(2,), strides=(1,), kind="module"), "names 'module'"),
  ],
)
def test_tensors_that_cannot_be_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    torch_files.read(file_of(**options))


def test_files_cut_off_anywhere_are_refused():
  whole = file_of((2, 3), (3, 1))
  for length in range(len(whole)):
    with pytest.raises(ValueError, match=r"."):
      torch_files.read(whole[:length])


def test_other_files_are_refused():
  with pytest.raises(ValueError, match="not what torch"):
    torch_files.read(pickle.dumps(1, 2) + pickle.dumps(2, 2))
  with pytest.raises(ValueError, match="damaged"):
    torch_files.read(b"PK\x03\x04 a newer file")


class Opens:
  """Unpickled by an ordinary unpickler, it makes a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), "w")


ATTACKS = {
  "GLOBAL": b"cos\nsystem\n(X\x05\x00\x00\x00falsetR.",
  "INST": b"(X\x05\x00\x00\x00falseios\nsystem\n.",
  "OBJ": b"(cos\nsystem\nX\x05\x00\x00\x00falseo.",
  "eval": b"cbuiltins\neval\n(X\x03\x00\x00\x001+1tR.",
  "getattr": b"cbuiltins\ngetattr\n.",
  "torch.load": b"ctorch\nload\n.",
  "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.",
  "module of ours": b"cjaxt2i.torch_files\nio\n.",
}


@pytest.mark.parametrize("place", range(5))
def test_a_pickle_that_would_act_does_nothing_wherever_it_stands(place, tmp_path):
  victim = tmp_path / "victim"
  attack = pickle.dumps(Opens(victim), 2)
  pickle.loads(attack).close()  # or the test could not fail
  assert victim.exists()
  victim.unlink()
  parts = [pickle.dumps(x, 2) for x in (MAGIC, VERSION, {}, {}, [])]
  parts[place] = attack
  with pytest.raises(ValueError, match=r"asks for .*open, expected tensors only"):
    torch_files.read(b"".join(parts))
  assert not victim.exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_way_to_name_a_function_is_refused(name):
  with pytest.raises(ValueError, match="expected tensors only"):
    torch_files.read(HEAD + ATTACKS[name])


def test_equals_what_pytorch_reads():
  torch = pytest.importorskip("torch")
  saved = {
    "a": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
    "b": torch.tensor(7),
    "c": torch.arange(10.0)[3:9:2],
    "empty": torch.zeros(0, 3),
  }
  file = io.BytesIO()
  torch.save(saved, file, _use_new_zipfile_serialization=False)
  found = torch_files.read(file.getvalue())
  assert found.keys() == saved.keys()
  for name, tensor in saved.items():
    np.testing.assert_array_equal(found[name], tensor.numpy())
