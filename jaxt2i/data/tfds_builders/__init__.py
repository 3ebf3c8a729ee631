"""Builders for TFDS, prepared and read without TensorFlow; importing this registers them.

import tensorflow_datasets as tfds
import jaxt2i.data.tfds_builders

builder = tfds.builder("flickr8k", data_dir="tfds", file_format="array_record")
builder.download_and_prepare()
train = tfds.data_source("flickr8k", split="train", data_dir="tfds")
"""

from jaxt2i.data.tfds_builders.flickr8k import Flickr8k
from jaxt2i.data.tfds_builders.openmoji import OpenMojiBuilder, OpenMojiConfig

__all__ = ["Flickr8k", "OpenMojiBuilder", "OpenMojiConfig"]
