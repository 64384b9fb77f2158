"""Tasks: what a card means for a model's tensors, and where the two do not fit."""

import pytest

from littoral.bundle import card, task
from littoral.errors import CardError, GoldenError
from littoral.tensors import Interface, Tensor
from littoral.wire.vision import ResultKind

PICTURE = '[[input]]\nkind = "image"\n'
WINDOW = '[[input]]\nkind = "window"\nrate = 16000\nhop = 2\n'
IMAGE = Tensor("image", "uint8", (1, 32, 64, 3))
FACES = """
decoder = "anchor-free"
strides = 8
box = "offset"
columns = ["boxes", "points"]
points = "nose"
scores = 1
"""
SCORES = Tensor("scores", "float32", (1, 3))


def read(text: str, *outputs: Tensor, image: Tensor = IMAGE, labels: str = "") -> task.Task:
    found = task.read(card.parse(text), Interface((image,), outputs or (SCORES,), tuple(labels.split())))
    assert found is not None
    return found


def floats(*shape: int, name: str = "out") -> Tensor:
    return Tensor(name, "float32", shape)


@pytest.mark.parametrize("text", ["", '[[input]]\nname = "image"\n', '[[output]]\ndecoder = "yolo"\n'])
def test_a_card_without_picture_or_window_asks_for_nothing(text: str) -> None:
    assert task.read(card.parse(text), Interface((IMAGE, IMAGE), ())) is None


def test_what_is_left_out_has_its_default() -> None:
    found = read(PICTURE + '[[output]]\ndecoder = "classification"')
    assert isinstance(found.input, task.Picture)
    assert (found.input.width, found.input.height, found.input.planar, found.size) == (64, 32, False, (64, 32))
    assert (found.input.colour, found.input.resize, found.input.fill, found.input.scaling) == ("rgb", "stretch", 0, ())
    assert (found.output.roles, found.output.threshold, found.output.top) == ({"tensor": 0}, 0.0, 5)


@pytest.mark.parametrize(
    ("shape", "colour", "planar"),
    [
        ((1, 32, 64, 3), "bgr", False),
        ((1, 3, 32, 64), "rgb", True),
        ((1, 32, 64, 1), "grey", False),
        ((1, 3, 3, 3), "rgb", False),
    ],
)
def test_the_place_of_the_channels_is_the_shapes(shape: tuple[int, ...], colour: str, planar: bool) -> None:
    found = read(PICTURE + f'colour = "{colour}"', image=Tensor("image", "uint8", shape))
    assert isinstance(found.input, task.Picture)
    assert found.input.planar is planar


def test_one_mean_or_scale_stands_for_every_channel() -> None:
    one, three = read(PICTURE + 'mean = "128"'), read(PICTURE + 'mean = "1"\nscale = ["1", "2", "4"]')
    assert one.input.scaling == ((128.0, 1.0),) * 3
    assert three.input.scaling == ((1.0, 1.0), (1.0, 2.0), (1.0, 4.0))


def test_a_window_has_the_length_that_its_channels_leave() -> None:
    found = read(WINDOW + "channels = 2", image=floats(1, 10, 2))
    assert isinstance(found.input, task.Window)
    assert (found.input.length, found.input.channels, found.input.hop, found.size) == (10, 2, 2, (0, 0))


@pytest.mark.parametrize(
    ("output", "tensors", "kind"),
    [
        ("", [SCORES], ResultKind.RAW),
        ('decoder = "classification"', [SCORES], ResultKind.CLASSES),
        ('decoder = "embedding"', [SCORES], ResultKind.EMBEDDING),
        ('decoder = "segmentation"', [floats(1, 8, 8, 3)], ResultKind.MASK),
        ('decoder = "yolo"', [floats(1, 7, 50)], ResultKind.BOXES),
        ('decoder = "keypoints"', [floats(1, 1, 17, 3)], ResultKind.POSES),
        ('decoder = "anchor-free"\nstrides = [8]', [floats(1, 32, 6)], ResultKind.BOXES),
        ('decoder = "ssd"', [floats(1, 9, 4), floats(1, 9), floats(1, 9), floats(1)], ResultKind.BOXES),
        (FACES, [floats(1, 32, 6), floats(1, 32, 1)], ResultKind.POSES),
    ],
)
def test_the_decoder_decides_the_kind_of_result(output: str, tensors: list[Tensor], kind: ResultKind) -> None:
    assert read(PICTURE + "[[output]]\n" + output, *tensors).output.kind is kind


@pytest.mark.parametrize(
    ("text", "image", "said"),
    [
        ('colour = "grey"', IMAGE, "colour grey does not fit into image"),
        ("", Tensor("image", "uint8", (2, 32, 64, 3)), "does not fit"),
        ("", Tensor("image", "uint8", (1, 32, 64)), "does not fit"),
        ("", Tensor("image", "uint8", (1, -1, 64, 3)), "cannot fill"),
        ("", Tensor("image", "bool", (1, 32, 64, 3)), "cannot fill"),
        ("", Tensor("image", "int64", (1, 32, 64, 3)), "cannot fill"),
        ('name = "picture"', IMAGE, "names 'picture'"),
        ('mean = ["1", "2"]', IMAGE, "mean has 2 values"),
    ],
)
def test_a_picture_that_does_not_fit_the_input_is_refused(text: str, image: Tensor, said: str) -> None:
    with pytest.raises(CardError, match=said):
        read(PICTURE + text, image=image)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[input]]\nkind = "window"\nhop = 2\n', "needs rate"),
        ('[[input]]\nkind = "window"\nrate = 2\n', "needs hop"),
        (WINDOW + "channels = 7", "do not divide"),
        ('[[input]]\nkind = "window"\nrate = 16000\nhop = 21\n', "hop is 21"),
        (WINDOW + '[[output]]\ndecoder = "yolo"', "in pictures"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(text: str, said: str) -> None:
    with pytest.raises(CardError, match=said):
        read(text, image=floats(1, 20))


@pytest.mark.parametrize(
    ("output", "tensors", "said"),
    [
        ('decoder = "classification"\ntensor = "none"', [SCORES], "outputs are scores"),
        ('decoder = "classification"\ntensor = 1', [SCORES], "the model has 1"),
        ('decoder = "classification"', [floats(1, 0)], "no fixed size"),
        ('decoder = "yolo"', [floats(1, 7, -1)], "no fixed size"),
        ('decoder = "yolo"', [floats(1, 4, 50)], "too few columns"),
        ('decoder = "yolo"\nvariant = "v5"', [floats(1, 50, 5)], "too few columns"),
        ('decoder = "yolo"', [floats(1, 50)], "one table"),
        ('decoder = "ssd"', [floats(1, 9, 4), floats(1, 9), floats(1, 8), floats(1)], "needs boxes"),
        ('decoder = "segmentation"', [floats(1, 8)], "needs labels"),
        ('decoder = "segmentation"', [floats(1, 8, 8, 256)], "256 classes"),
        ('decoder = "keypoints"', [floats(1, 17, 2)], "points, 3"),
        ('decoder = "keypoints"\npoints = ["a"]', [floats(1, 1, 2, 3)], "2 points, the card names 1"),
        ('decoder = "keypoints"\nvariant = "yolo"', [floats(1, 6, 50)], "points"),
        ('decoder = "anchor-free"', [floats(1, 7, 5)], "do not divide"),
        ('decoder = "anchor-free"\nstrides = [8]\nper_cell = [1, 2]', [floats(1, 32, 6)], "per_cell"),
        ('decoder = "anchor-free"\nstrides = [8]', [floats(1, 32, 4)], "4 columns"),
        ('decoder = "anchor-free"\nstrides = [8]\nscores = 1', [floats(1, 32, 4), floats(1, 32, 2)], "either among"),
        ('decoder = "anchor-free"\nstrides = [8]\ncolumns = ["scores"]', [floats(1, 32, 4)], "cannot have"),
        ('decoder = "anchor-free"\nstrides = [8]\npoints = ["a"]', [floats(1, 32, 8)], "box offset"),
    ],
)
def test_outputs_that_the_decoder_cannot_read_are_refused(output: str, tensors: list[Tensor], said: str) -> None:
    with pytest.raises(CardError, match=said):
        read(PICTURE + "[[output]]\n" + output, *tensors)


def test_a_mask_does_not_come_of_a_cropped_frame() -> None:
    with pytest.raises(CardError, match="unseen"):
        read(PICTURE + 'resize = "crop"\n[[output]]\ndecoder = "segmentation"', floats(1, 8, 8, 3))


@pytest.mark.parametrize(("offset", "fits"), [(0, False), (-1, True), (1, False)])
def test_every_class_needs_a_label_where_there_are_labels(offset: int, fits: bool) -> None:
    text = PICTURE + f'[[output]]\ndecoder = "classification"\noffset = {offset}'
    if fits:
        assert read(text, labels="a b").output.offset == offset
    else:
        with pytest.raises(CardError, match="more labels than the model's 2"):
            read(text, labels="a b")


def test_only_the_one_input_of_a_model_can_be_filled() -> None:
    for text, inputs in ((PICTURE, (IMAGE, IMAGE)), (PICTURE * 2, (IMAGE,)), (PICTURE, ())):
        with pytest.raises(CardError, match="the only input"):
            task.read(card.parse(text), Interface(inputs, (SCORES,)))


def test_there_is_one_kind_of_result() -> None:
    with pytest.raises(CardError, match="one kind of result"):
        read(PICTURE + "[[output]]\n[[output]]\n")


# --- the class of an answer ---------------------------------------------------------------------------------------

OTHERS = (floats(1, 2, 2), SCORES)


@pytest.mark.parametrize(
    ("text", "outputs", "found"),
    [
        ("", (SCORES,), (0, 0)),
        ('[[output]]\ndecoder = "raw"', (SCORES,), (0, 0)),
        ('[[output]]\ndecoder = "classification"\ntensor = "scores"\noffset = -1', OTHERS, (1, -1)),
        ('[[output]]\ndecoder = "classification"\ntensor = 1', OTHERS, (1, 0)),
    ],
)
def test_scores_are_the_output_that_the_card_names_and_else_the_first(
    text: str, outputs: tuple[Tensor, ...], found: tuple[int, int]
) -> None:
    assert task.scores(card.parse(text), Interface((IMAGE,), outputs)) == found


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 2, 2), (2, 3), (1, 0)])
def test_an_output_that_is_no_row_of_scores_holds_no_class(shape: tuple[int, ...]) -> None:
    with pytest.raises(GoldenError, match="score for each class"):
        task.scores(card.Card(), Interface((IMAGE,), (floats(*shape),)))


@pytest.mark.parametrize(
    "text", ['decoder = "yolo"', 'decoder = "classification"\ntensor = 7', 'decoder = "classification"\ntensor = "x"']
)
def test_a_card_of_another_decoder_or_model_names_no_scores(text: str) -> None:
    with pytest.raises(CardError):
        task.scores(card.parse(f"[[output]]\n{text}"), Interface((IMAGE,), (SCORES,)))
