import pytest

from jaxt2i.data.formats import make
from jaxt2i.errors import UserError


def write(folder, *names, **files):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
  for name, text in files.items():
    (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def read(folder, **options):
  return make("classes", src=str(folder), **options).listing()


def rows(listing):
  return [(e.image_id, e.attributes["class"], e.split) for e in listing.entries]


def captions(folder, **options):
  return {entry.attributes["class"]: entry.captions for entry in read(folder, **options).entries}


def test_folders_of_classes(tmp_path):
  write(tmp_path, "cat/1.jpg", "cat/2.JPEG", "German-Shepherd_dog/1.png", "readme.md", "3.jpg")
  listing = read(tmp_path)
  assert rows(listing) == [
    ("German-Shepherd_dog/1.png", "German-Shepherd_dog", ""),
    ("cat/1.jpg", "cat", ""),
    ("cat/2.JPEG", "cat", ""),
  ]
  assert listing.entries[0].captions == ("a photo of a german shepherd dog",)
  assert listing.uncaptioned == ("3.jpg",)


def test_splits_and_any_depth(tmp_path):
  write(
    tmp_path, "x/train/cat/1.jpg", "x/validation/cat/1.jpg", "x/test/cat/1.jpg", "y/z/dog/1.jpg"
  )
  assert rows(read(tmp_path)) == [
    ("x/test/cat/1.jpg", "cat", "test"),
    ("x/train/cat/1.jpg", "cat", "train"),
    ("x/validation/cat/1.jpg", "cat", "val"),
    ("y/z/dog/1.jpg", "dog", ""),
  ]


def test_trains_are_a_class_among_others(tmp_path):
  write(tmp_path, "bus/1.jpg", "train/1.jpg")
  assert rows(read(tmp_path)) == [("bus/1.jpg", "bus", ""), ("train/1.jpg", "train", "")]


def test_trains_are_a_class_in_a_split(tmp_path):
  write(tmp_path, "train/bus/1.jpg", "train/train/1.jpg", "test/train/1.jpg", "test/bus/1.jpg")
  assert rows(read(tmp_path)) == [
    ("test/bus/1.jpg", "bus", "test"),
    ("test/train/1.jpg", "train", "test"),
    ("train/bus/1.jpg", "bus", "train"),
    ("train/train/1.jpg", "train", "train"),
  ]


def test_tiny_imagenet_as_published(tmp_path):
  write(tmp_path, "train/n01443537/images/n01443537_0.JPEG", "val/images/val_0.JPEG")
  write(tmp_path, words__txt="n01443537\tgoldfish, Carassius auratus\nn00001740\tentity\n")
  listing = read(tmp_path, class_names="words.txt")
  assert rows(listing) == [("train/n01443537/images/n01443537_0.JPEG", "n01443537", "train")]
  assert listing.entries[0].captions == ("a photo of a goldfish",)
  assert listing.uncaptioned == ("val/images/val_0.JPEG",)


@pytest.mark.parametrize("names", [("1.jpg",), ("train/1.jpg", "test/1.jpg"), ("images/1.jpg",)])
def test_no_classes(tmp_path, names):
  write(tmp_path, *names)
  with pytest.raises(UserError, match=r"no folders of classes in .*, got '.*1\.jpg'"):
    read(tmp_path)


def test_no_images(tmp_path):
  write(tmp_path, "cat/1.txt")
  with pytest.raises(UserError, match="no images in"):
    read(tmp_path)


@pytest.mark.parametrize(
  ("name", "words"),
  [
    *(("apple", "an apple"), ("Orange", "an orange"), ("UMBRELLA", "an umbrella")),
    *(("unicorn", "a unicorn"), ("uniform", "a uniform"), ("uninhabited isle", "an uninhabited")),
    *(("ukulele", "a ukulele"), ("utensil", "a utensil"), ("utter_mess", "an utter mess")),
    *(("european-hare", "a european hare"), ("ewe", "a ewe"), ("one-way-sign", "a one way sign")),
    *(("hourglass", "an hourglass"), ("house", "a house"), ("honeycomb", "a honeycomb")),
    *(("x-ray_fish", "an x ray fish"), ("usher", "an usher"), ("used_car", "a used car")),
    *(("heirloom", "an heirloom"), ("ouzel", "an ouzel"), ("egg", "an egg"), ("ox", "an ox")),
    *(("shorts", "of shorts"), ("sunglasses", "of sunglasses")),
    *(("bus", "a bus"), ("dress", "a dress"), ("mantis", "a mantis"), ("lens", "a lens")),
    *(("t-shirt", "a t shirt"), ("người", "a người")),
  ],
)
def test_articles(tmp_path, name, words):
  write(tmp_path, f"{name}/1.jpg")
  (caption,) = captions(tmp_path)[name]
  assert caption.startswith("a photo of ")
  assert words in caption


@pytest.mark.parametrize(
  ("template", "caption"),
  [
    ("A {} on white", "An apple on white"),
    ("{}", "apple"),
    ("a red {}", "a red apple"),
    ("a {}'s photo, 100% {{}", None),
    ("ảnh của {} 🍎", "ảnh của apple 🍎"),
    ("the {0}", None),
    ("", None),
    ("{} {}", None),
  ],
)
def test_templates(tmp_path, template, caption):
  write(tmp_path, "apple/1.jpg")
  if caption:
    assert captions(tmp_path, template=template) == {"apple": (caption,)}
  else:
    with pytest.raises(UserError, match=r"expected one \{\}"):
      captions(tmp_path, template=template)


@pytest.mark.parametrize(
  ("name", "text"),
  [
    ("names__tsv", "\ufeffn1\tEgyptian cat\r\n\r\nn2\torange, fruit\nn3\tnot here\n"),
    ("names__csv", 'id,words\nn1,Egyptian cat\nn2,"orange, fruit"\n'),
    ("names__csv", "n1,Egyptian cat\nn2,orange,fruit\n"),
    ("names__txt", "n1 Egyptian cat\nn2 orange, fruit\n"),
    ("names__tsv", "n1\tEgyptian cat\t5\nn2\torange\t7\n"),
  ],
)
def test_names_of_classes(tmp_path, name, text):
  write(tmp_path, "n1/1.jpg", "n2/1.jpg", **{name: text})
  assert captions(tmp_path, class_names=name.replace("__", ".")) == {
    "n1": ("a photo of an Egyptian cat",),
    "n2": ("a photo of an orange",),
  }


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("n1\tcat\nn3\tdog\n", "class 'n2' is not in names.tsv"),
    ("n1\tcat\nn2\n", "names.tsv line 2: 'n2': expected folder<TAB>name"),
    ("n1\tcat\nn2\t \n", "line 2: "),
  ],
)
def test_names_that_are_missing(tmp_path, text, message):
  write(tmp_path, "n1/1.jpg", "n2/1.jpg", names__tsv=text)
  with pytest.raises(UserError) as caught:
    read(tmp_path, class_names="names.tsv")
  assert message in str(caught.value)
  with pytest.raises(UserError, match="check --class_names"):
    read(tmp_path, class_names="nothing.tsv")


def test_names_in_a_csv_with_an_open_quote(tmp_path):
  write(tmp_path, "n1/1.jpg", names__csv='n1,"cat\nn2,dog\n')
  with pytest.raises(UserError, match=r"names\.csv line 1: .*quotes"):
    read(tmp_path, class_names="names.csv")


def test_a_folder_without_words(tmp_path):
  write(tmp_path, "_-_/1.jpg")
  with pytest.raises(UserError, match="class '_-_'"):
    read(tmp_path)


@pytest.mark.parametrize(
  ("name", "options", "num", "splits", "some"),
  [
    ("birds", {}, 1_375, {""}, "a photo of an asian green bee eater"),
    ("clothing-small", {}, 3_781, {"train", "val", "test"}, "a photo of a t shirt"),
    (
      "tiny-imagenet",
      {"class_names": "classes.tsv"},
      20_000,
      {"train"},
      "a photo of an Egyptian cat",
    ),
  ],
)
def test_real_photos(shared_data, name, options, num, splits, some):
  if not (shared_data / name).is_dir():
    pytest.skip(f"no {name} beside this checkout")
  listing = read(shared_data / name, **options)
  assert len(listing.entries) == num
  assert listing.uncaptioned == ()
  assert {entry.split for entry in listing.entries} == splits
  assert (some,) in {entry.captions for entry in listing.entries}
  assert listing.entries[-1].blob.read().startswith(b"\xff\xd8")  # JPEG
