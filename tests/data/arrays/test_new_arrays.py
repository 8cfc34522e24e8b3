"""New inputs from files: what each format gives, and every way in which a file is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from dlrun.data import kind
from dlrun.data.arrays import new_arrays
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.kinds import read_inputs, read_pieces
from dlrun.errors import ConfigError

FEATURES = Spec("regression", "features", (3,), 1, (), ("a", "b", "c"))
GRAY = Spec("multiclass", "image", (1, 4, 6), 10)
COLOUR = Spec("multiclass", "image", (3, 4, 6), 10)
SEQUENCE = Spec("multiclass", "sequence", (5, 2), 4)


def read(path, spec=FEATURES, pixel_max=255.0):
    return read_inputs(path, spec, Scaling([0.0], [1.0], [], [], pixel_max))


def refusal(path, *arguments, **more):
    with pytest.raises(ConfigError) as caught:
        read(path, *arguments, **more)
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    """(name, content) -> the path of a file with this text, these bytes, this array or this picture."""

    def make(name, content):
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, dict):
            np.savez(path, **content)
        elif isinstance(content, Image.Image):
            content.save(path)
        else:
            np.save(path, content)
        return path

    return make


def picture(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    path = tmp_path / "missing.csv"
    assert refusal(path) == f"{path} is not a file"
    assert refusal(tmp_path) == f"{tmp_path} is not a file"


@pytest.mark.parametrize(("name", "shown"), [("rows.txt", ".txt"), ("rows", "nothing")])
def test_a_kind_of_file_not_known_is_refused(name, shown, write):
    path = write(name, "1,2,3\n")
    assert refusal(path) == (
        f"{path}: files ending in {shown} are not known; give an image, .npy, .npz or .csv"
    )


def test_a_grey_picture_is_read_pixel_by_pixel(write):
    pixels = picture(4, 6)
    inputs = read(write("a.png", Image.fromarray(pixels)), GRAY)
    assert inputs.shape == (1, 1, 4, 6)
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs[0, 0], pixels)


def test_a_colour_picture_is_read_with_channels_first(write):
    pixels = picture(4, 6, 3)
    inputs = read(write("a.png", Image.fromarray(pixels)), COLOUR)
    np.testing.assert_array_equal(inputs[0], pixels.transpose(2, 0, 1))


def test_pixels_are_scaled_to_the_brightness_of_the_data_set(write):
    path = write("a.png", Image.new("L", (6, 4), 255))
    assert (read(path, GRAY, pixel_max=16.0) == 16).all()


def test_colours_become_grey_and_grey_becomes_colours_as_the_run_takes_them(write):
    red = write("red.png", Image.new("RGB", (6, 4), (255, 0, 0)))
    np.testing.assert_allclose(read(red, GRAY), 76, atol=1)  # 0.299 * 255, ITU-R 601
    grey = write("grey.png", Image.new("L", (6, 4), 40))
    assert (read(grey, COLOUR) == 40).all()
    assert read(grey, COLOUR).shape == (1, 3, 4, 6)


def test_a_picture_of_another_size_is_resized(write):
    pixels = np.zeros((8, 12), np.uint8)
    pixels[:, 6:] = 200
    inputs = read(write("a.png", Image.fromarray(pixels)), GRAY)[0, 0]
    assert inputs.shape == (4, 6)
    np.testing.assert_allclose(inputs[:, :2], 0, atol=20)
    np.testing.assert_allclose(inputs[:, -2:], 200, atol=20)


def test_sixteen_bits_of_grey_become_eight_rather_than_white(write):
    pixels = picture(4, 6)
    path = write("a.png", Image.fromarray(pixels.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read(path, GRAY)[0, 0], pixels)


@pytest.mark.parametrize(
    "image", [Image.new("F", (6, 4), 0.5), Image.new("I", (6, 4), 100_000)], ids=lambda i: i.mode
)
def test_pixels_of_an_unknown_range_are_refused(image, write):
    path = write("a.tif", image)
    assert refusal(path, GRAY) == (
        f"{path} has {image.mode} pixels, whose range is not known; save it with 8 bits a channel, or give a .npy"
    )


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.bmp", "a.gif", "a.webp", "a.tiff", "a.pgm"])
def test_many_formats_of_pictures_are_read(name, write):
    path = write(name, Image.new("L", (6, 4), 128))
    np.testing.assert_allclose(read(path, GRAY), 128, atol=3)


def test_a_picture_for_a_run_on_rows_is_refused(write):
    path = write("a.png", Image.new("L", (6, 4)))
    assert refusal(path, FEATURES, pixel_max=0.0) == (
        f"{path} is an image, but this run was trained on features; give a .npy, .npz or .csv of rows"
    )


def test_a_picture_for_images_of_other_than_one_or_three_channels_is_refused(write):
    path = write("a.png", Image.new("L", (6, 4)))
    assert refusal(path, Spec("multiclass", "image", (4, 4, 6), 10)) == (
        f"{path} is an image of 1 or 3 channels, but this run takes 4; give a .npy or .npz"
    )


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + b"x" * 40])
def test_what_is_no_picture_is_refused(content, write):
    path = write("a.png", content)
    assert refusal(path, GRAY).startswith(f"{path} cannot be opened as an image: ")


def test_a_torn_picture_is_refused(write):
    buffer = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(buffer, "PNG")
    path = write("a.png", buffer.getvalue()[:-2000])
    assert refusal(path, GRAY).startswith(f"{path} cannot be opened as an image: ")


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        (FEATURES, (7, 3), 7),
        (FEATURES, (3,), 1),
        (FEATURES, (3, 3), 3),
        (GRAY, (5, 1, 4, 6), 5),
        (GRAY, (5, 4, 6), 5),
        (GRAY, (4, 6), 1),
        (GRAY, (1, 4, 6), 1),
        (GRAY, (5, 24), 5),
        (GRAY, (24,), 1),
        (COLOUR, (5, 3, 4, 6), 5),
        (COLOUR, (3, 4, 6), 1),
        (COLOUR, (5, 72), 5),
        (SEQUENCE, (4, 5, 2), 4),
        (SEQUENCE, (5, 2), 1),
        (SEQUENCE, (4, 10), 4),
    ],
)
def test_arrays_are_one_input_or_a_stack_flat_or_in_shape(spec, shape, count, write):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    inputs = read(write("a.npy", array), spec)
    assert inputs.shape == (count, *spec.input_shape)
    np.testing.assert_array_equal(inputs.ravel(), array.ravel())


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, bool])
def test_arrays_of_any_numbers_become_float32(dtype, write):
    inputs = read(write("a.npy", np.array([[0, 1, 1]], dtype)))
    assert inputs.dtype == np.float32
    assert inputs.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("spec", "shape", "wanted"),
    [
        (FEATURES, (7, 4), "(N, 3) or (N, 3)"),
        (FEATURES, (), "(N, 3) or (N, 3)"),
        (GRAY, (5, 6, 4), "(N, 1, 4, 6) or (N, 24)"),
        (COLOUR, (5, 4, 6, 3), "(N, 3, 4, 6) or (N, 72)"),
        (COLOUR, (5, 4, 6), "(N, 3, 4, 6) or (N, 72)"),
        (SEQUENCE, (5,), "(N, 5, 2) or (N, 10)"),
    ],
)
def test_an_array_of_another_shape_is_refused(spec, shape, wanted, write):
    path = write("a.npy", np.zeros(shape))
    assert refusal(path, spec) == f"{path} has the shape {shape}, but this run takes {wanted}"


@pytest.mark.parametrize("array", [np.array(["a", "b", "c"]), np.zeros(3, complex)])
def test_an_array_of_other_than_numbers_is_refused(array, write):
    path = write("a.npy", array)
    assert refusal(path) == f"{path} holds {array.dtype}, but must hold numbers"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_an_array_with_values_beyond_float32_is_refused(value, write):
    path = write("a.npy", np.array([[1, 2, value]]))
    assert refusal(path) == f"{path} holds values that are not finite numbers"


@pytest.mark.parametrize("spec", [FEATURES, GRAY])
def test_an_array_without_rows_is_refused(spec, write):
    path = write("a.npy", np.zeros((0, *spec.input_shape)))
    assert refusal(path, spec) == f"{path} holds no rows"


def test_an_npz_of_one_array_is_that_array(write):
    path = write("a.npz", {"whatever": np.ones((2, 3))})
    assert read(path).tolist() == [[1, 1, 1]] * 2


def test_of_several_arrays_the_one_named_inputs_is_taken(write):
    path = write("a.npz", {"targets": np.zeros(2), "inputs": np.ones((2, 3))})
    assert read(path).tolist() == [[1, 1, 1]] * 2
    path = write("b.npz", {"x": np.zeros(2), "y": np.ones((2, 3))})
    assert refusal(path) == f"{path} holds the arrays x, y: name the one to use `inputs`"


def test_an_npz_without_arrays_is_refused(write):
    path = write("a.npz", {})
    assert refusal(path) == f"{path} holds no arrays"


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\3\4" + bytes(50), b"\x93NUMPY\1\0"])
def test_what_is_no_array_file_is_refused(content, name, write):
    path = write(name, content)
    message = refusal(path)
    assert message.startswith(f"{path} cannot be read as a NumPy array: ")
    assert "\n" not in message


def test_a_torn_array_file_is_refused(write):
    for name, content in [("a.npy", np.ones((50, 3))), ("a.npz", {"inputs": np.ones((50, 3))})]:
        path = write(name, content)
        path.write_bytes(path.read_bytes()[:-200])
        assert refusal(path).startswith(f"{path} cannot be read as a NumPy array: ")


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in an input file was run')",))


def test_objects_in_an_array_file_are_refused_and_never_made(write):
    array = np.array([Malicious()], dtype=object)
    for name, content in [("a.npy", array), ("a.npz", {"inputs": array})]:
        path = write(name, content)
        assert refusal(path).startswith(f"{path} cannot be read as a NumPy array: ")


def test_a_table_of_numbers_is_its_rows(write):
    path = write("a.csv", "1,2.5,-3e2\n 4 ,5,6\n")
    assert read(path).tolist() == [[1, 2.5, -300], [4, 5, 6]]
    assert read(path).dtype == np.float32


def test_a_header_is_skipped_and_empty_lines_and_a_byte_order_mark_do_not_count(write):
    for text in ("\ufeffx,y,z\r\n\r\n1,2,3\r\n  ,,\r\n4,5,6\r\n", "\ufeff1,2,3\n4,5,6\n"):
        path = write("a.csv", text)
        assert read(path).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_header_that_counts_columns_is_skipped_and_that_is_said(write, capsys):
    path = write("a.csv", "0,1,2,3\n0.5,0.1,0.2,0.7\n0.4,0.3,0.9,0.1\n")
    assert len(read(path, Spec("regression", "features", (4,), 1))) == 2
    assert (
        "the first row (0, 1, 2, 3, …) is read as a header and left out" in capsys.readouterr().err
    )


def test_a_workbook_is_no_table_of_numbers(write):
    assert "is a zip archive" in refusal(write("a.csv", b"PK\x03\x04\x00"))


def test_columns_are_found_by_a_header_that_names_all_features(write):
    path = write("a.csv", "label,c, a ,b\nx,3,1,2\ny,6,4,5\n")
    assert read(path).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_header_that_does_not_name_all_features_leaves_columns_in_their_order(write):
    path = write("a.csv", "c,b,other\n1,2,3\n")
    assert read(path).tolist() == [[1, 2, 3]]


def test_empty_cells_beyond_the_header_and_columns_not_asked_for_do_not_matter(write):
    path = write("a.csv", "a,b,c,label\n1,2,3,x,,\n4,5,6\n")
    assert read(path).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_table_row_is_a_flat_image(write):
    path = write("a.csv", ",".join(map(str, range(24))) + "\n")
    assert read(path, GRAY).shape == (1, 1, 4, 6)
    assert read(path, GRAY)[0, 0, 1, 0] == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", " holds no rows"),
        ("a,b,c\n", " holds no rows"),
        ("1,2\n", ", row 1, has 2 columns, but this run takes 3"),
        ("1\n", ", row 1, has 1 column, but this run takes 3"),
        ("x,y,z\n1,2,3\n1,2,3,4\n", ", row 3, has 4 columns, but this run takes 3"),
        ("a,b,c\n1,2,3\n1,2,3,4\n", ", row 3, has 4 columns, but the header names 3"),
        ("1,2,3\n\n1,x,3\n", ", row 3, column 2: x is not a number"),
        ("1,2,3\n1,,3\n", ", row 2, column 2: an empty cell is not a number"),
        ("1,2,3\n1,2,nan\n", ", row 2, column 3: nan is not a number"),
        ("1,2,3\n1,2,inf\n", ", row 2, column 3: inf is not a number"),
        ("1,2,1e300\n", " holds values that are not finite numbers"),
        ("label,c,b,a\nx,3,2\n", ", row 2, column 1: an empty cell is not a number"),
        ("1;2;3\n", " holds no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_with_its_place(text, words, write):
    path = write("a.csv", text)
    assert refusal(path) == f"{path}{words}"


def test_a_table_in_another_encoding_is_refused(write):
    path = write("a.csv", "größe,b,c\n1,2,3\n".encode("utf-16"))
    assert refusal(path).startswith(f"{path} cannot be read as CSV: ")


def test_a_table_of_other_than_text_is_refused(write):
    path = write("a.csv", b"1,2,3\n" + b"9" * 200_000 + b"\n")
    assert refusal(path).startswith(f"{path} cannot be read as CSV: field larger than")


@pytest.mark.parametrize("name", ["a.csv", "a.npy"])
def test_a_file_that_may_not_be_read_is_refused(name, write, monkeypatch):
    def refuse(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    path = write(name, "1,2,3\n")
    monkeypatch.setattr(type(path), "open", refuse)
    assert refusal(path).endswith("[Errno 13] Permission denied")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv"])
def test_pieces_hold_the_rows_of_the_whole_file(write, monkeypatch, name):
    monkeypatch.setattr(new_arrays, "AT_ONCE", 4)
    monkeypatch.setattr(kind, "AT_ONCE", 4)
    monkeypatch.setattr(new_arrays, "LOOKED_AT", 3)
    rows = np.random.default_rng(0).random((10, 3)).astype(np.float32)
    text = "b,c,a\n" + "".join(f"{b},{c},{a}\n" for a, b, c in rows.tolist())
    content = {"a.npy": rows, "a.npz": {"inputs": rows}, "a.csv": text}[name]
    pieces = list(read_pieces([write(name, content)], FEATURES, Scaling([0.0], [1.0], [], [], 0.0)))
    assert [len(piece.raw) for piece in pieces] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([piece.raw for piece in pieces]), rows)
    assert [row for piece in pieces for row in piece.rows] == list(range(10))


def test_a_row_of_a_later_piece_is_named(write, monkeypatch):
    monkeypatch.setattr(new_arrays, "AT_ONCE", 4)
    path = write("a.csv", "a,b,c\n" + "1,2,3\n" * 8 + "1,x,3\n")
    with pytest.raises(ConfigError, match="row 10, column 2: x is not a number"):
        list(read_pieces([path], FEATURES, Scaling([0.0], [1.0], [], [], 0.0)))


def test_images_of_several_files_are_one_piece_and_arrays_between_them_their_own(write, tmp_path):
    pictures = [picture(4, 6) for _ in range(3)]
    files = [write(f"{at}.png", Image.fromarray(one)) for at, one in enumerate(pictures)]
    files.insert(2, write("a.npy", np.stack(pictures)))
    scaling = Scaling([0.0], [1.0], [], [], 255.0)
    pieces = list(read_pieces(files, GRAY, scaling))
    assert [list(piece.rows) for piece in pieces] == [[0, 0], [0, 1, 2], [0]]
    assert [name for piece in pieces for name in piece.files] == [
        str(files[at]) for at in (0, 1, 2, 2, 2, 3)
    ]
    found = np.concatenate([piece.raw for piece in pieces])
    np.testing.assert_array_equal(
        found[:, 0], np.stack([pictures[at] for at in (0, 1, 0, 1, 2, 2)])
    )
    with pytest.raises(
        ConfigError, match=r"--keep names id, a column, but .*0.png is an input without columns"
    ):
        list(read_pieces(files, GRAY, scaling, ["id"]))
