"""A data set whose test set is the last 10,000 training images: settings chosen by it have not seen the real test set."""

import gzip
import os
import struct

VALIDATION_IMAGES = 10_000
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def find(name):
    """The folder that `gradwire train --data NAME` reads."""
    home = os.environ.get("GRADWIRE_DATA", "")
    usual = "/usr/share/datasets/fashion-mnist" if name == "fashion-mnist" else home
    return os.path.join(home, name) if home and os.path.isdir(os.path.join(home, name)) else usual


def read(folder, name):
    for variant in (name, name.replace("-idx", ".idx")):
        for ending, opened in (("", open), (".gz", gzip.open)):
            path = os.path.join(folder, variant + ending)
            if os.path.exists(path):
                with opened(path, "rb") as file:
                    return file.read()
    raise SystemExit(f"accuracy: there is no {name} in '{folder}': set GRADWIRE_DATA")


def write(folder, part, shape, images, labels):
    count = len(labels)
    with open(os.path.join(folder, f"{part}-images-idx3-ubyte"), "wb") as file:
        file.write(struct.pack(">IIII", IMAGES_MAGIC, count, *shape) + images)
    with open(os.path.join(folder, f"{part}-labels-idx1-ubyte"), "wb") as file:
        file.write(struct.pack(">II", LABELS_MAGIC, count) + labels)


def write_split(source, folder):
    """Writes the four files of a data set into `folder`, made of the training images in `source` alone."""
    images, labels = read(source, "train-images-idx3-ubyte"), read(source, "train-labels-idx1-ubyte")
    magic, count, *shape = struct.unpack(">IIII", images[:16])
    size = shape[0] * shape[1]
    if (magic, len(images)) != (IMAGES_MAGIC, 16 + count * size) or len(labels) != 8 + count or count <= VALIDATION_IMAGES:
        raise SystemExit(f"accuracy: the training set in '{source}' is damaged, or too small")
    images, labels, cut = images[16:], labels[8:], count - VALIDATION_IMAGES
    write(folder, "train", shape, images[: cut * size], labels[:cut])
    write(folder, "t10k", shape, images[cut * size :], labels[cut:])
