import gzip
import struct
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from autoseg.data.dataset import Case
from autoseg.data.image import FLAT_SPACING_MM, Geometry
from autoseg.data.readers import (
    READERS,
    image_ending,
    image_stem,
    is_image,
    read_case,
    read_header,
    read_image,
    read_labels,
    write_image,
    write_labels,
)
from autoseg.errors import ImageError
from tests.data.scans import SHAPE, a_label_map, a_scan, write_nifti, write_picture

OBLIQUE = np.array([[-0.9, 0.1, 0.2, 11.5], [0.1, 1.9, -0.3, -7.25], [-0.1, 0.2, 2.9, 3.125], [0, 0, 0, 1]])
WRITABLE_3D = [".nii.gz", ".nii", ".nrrd", ".mha"]
WRITABLE_2D = [".png", ".tif", ".bmp"]


def _orthogonal_geometry(shape: tuple[int, int, int]) -> Geometry:
    """A grid turned by 30 degrees in plane, 1.5 x 2 x 3 mm: every format can hold it."""
    turn = np.array([[np.cos(0.5), -np.sin(0.5), 0], [np.sin(0.5), np.cos(0.5), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [1.5, 2.0, 3.0]
    affine[:3, 3] = [10.0, -20.0, 30.0]
    return Geometry(shape, (3.0, 2.0, 1.5), affine)


@pytest.mark.parametrize("ending", WRITABLE_3D)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_scan_comes_back_from_every_3d_format_with_voxels_and_geometry(
    tmp_path: Path, ending: str, channels: int
) -> None:
    voxels = a_scan(channels=channels)
    geometry = _orthogonal_geometry(SHAPE)
    write_image(tmp_path / f"scan{ending}", voxels, geometry)

    image = read_image(tmp_path / f"scan{ending}")
    header = read_header(tmp_path / f"scan{ending}")

    np.testing.assert_array_equal(image.voxels, voxels)
    assert image.voxels.dtype == voxels.dtype
    assert header.channels == channels
    for found in (image.geometry, header.geometry):
        assert found.shape == SHAPE
        np.testing.assert_allclose(found.spacing_mm, geometry.spacing_mm, rtol=1e-6)
        np.testing.assert_allclose(found.affine, geometry.affine, atol=1e-5)


@pytest.mark.parametrize("ending", [*WRITABLE_3D, ".tif"])
@pytest.mark.parametrize(("value", "kind"), [(255, np.uint8), (256, np.uint16), (60_000, np.uint16)])
def test_labels_are_stored_in_the_smallest_type_and_come_back(tmp_path: Path, ending: str, value: int, kind: type) -> None:
    labels = np.where(a_label_map() > 0, value, 0).astype(np.int64)
    write_labels(tmp_path / f"labels{ending}", labels, _orthogonal_geometry(SHAPE))

    found, geometry = read_labels(tmp_path / f"labels{ending}")

    np.testing.assert_array_equal(found, labels)
    assert found.dtype == kind
    assert geometry.shape == SHAPE


def test_negative_labels_are_stored_with_a_sign(tmp_path: Path) -> None:
    labels = np.where(a_label_map() > 0, -3, 0)
    write_labels(tmp_path / "labels.nii.gz", labels, _orthogonal_geometry(SHAPE))
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii.gz")[0], labels)


@pytest.mark.parametrize("ending", WRITABLE_2D)
def test_a_mask_comes_back_from_every_picture_format_as_a_flat_label_map(tmp_path: Path, ending: str) -> None:
    mask = np.array([[[0, 255, 255], [7, 0, 0]]])
    write_picture(tmp_path / "image.png", mask[0].astype(np.uint8))
    geometry = read_header(tmp_path / "image.png").geometry

    write_labels(tmp_path / f"mask{ending}", mask, geometry)
    found, flat = read_labels(tmp_path / f"mask{ending}")

    np.testing.assert_array_equal(found, mask)
    assert flat.spacing_mm == (FLAT_SPACING_MM, 1.0, 1.0)
    assert flat.is_flat


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_prediction_in_nifti_has_the_very_affine_of_its_input(tmp_path: Path, ending: str, kind: type) -> None:
    original = kind(a_scan().T, OBLIQUE)
    original.header.set_qform(OBLIQUE, code=2, strip_shears=True)
    original.header.set_sform(OBLIQUE, code=4)
    original.header["descrip"] = b"scanner 7"
    nibabel.save(original, tmp_path / f"scan{ending}")

    write_labels(tmp_path / f"labels{ending}", a_label_map((0, 4)), read_image(tmp_path / f"scan{ending}").geometry)

    before, after = nibabel.load(tmp_path / f"scan{ending}"), nibabel.load(tmp_path / f"labels{ending}")
    assert type(after) is type(before)
    np.testing.assert_array_equal(after.affine, before.affine)
    changed = {key for key in before.header if before.header[key].tobytes() != after.header[key].tobytes()}
    assert changed <= {"datatype", "bitpix", "scl_slope", "scl_inter"}
    np.testing.assert_array_equal(np.asanyarray(after.dataobj).T, a_label_map((0, 4)))


def test_a_big_endian_nifti_is_read_and_answered_in_its_own_byte_order(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(a_scan().T, OBLIQUE, header), tmp_path / "scan.nii")

    image = read_image(tmp_path / "scan.nii")
    write_labels(tmp_path / "labels.nii", a_label_map((0, 300)), image.geometry)

    np.testing.assert_array_equal(image.voxels[0], a_scan())
    assert image.voxels.dtype.isnative
    assert nibabel.load(tmp_path / "labels.nii").header.endianness == ">"
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.nii")[0], a_label_map((0, 300)))


def test_a_nifti_without_handedness_is_read_and_keeps_its_header_bytes(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii", a_scan())
    raw = bytearray(path.read_bytes())
    raw[76:80] = bytes(4)  # pixdim[0]
    path.write_bytes(raw)

    geometry = read_image(path).geometry

    assert geometry.nifti_header == bytes(raw[:348])


@pytest.mark.parametrize(("stored", "expected"), [(np.int16, np.float32), (np.int32, np.float64)])
def test_the_scaling_of_a_nifti_header_is_applied_as_nibabel_does(tmp_path: Path, stored: type, expected: type) -> None:
    image = nibabel.Nifti1Image(a_scan().T.astype(stored), OBLIQUE)
    nibabel.save(image, tmp_path / "scan.nii")
    raw = bytearray((tmp_path / "scan.nii").read_bytes())
    raw[112:120] = np.array([0.25, -1024], dtype="<f4").tobytes()
    (tmp_path / "scan.nii").write_bytes(raw)

    voxels = read_image(tmp_path / "scan.nii").voxels

    assert voxels.dtype == expected
    np.testing.assert_allclose(voxels[0], np.asanyarray(nibabel.load(tmp_path / "scan.nii").dataobj).T)
    assert float(voxels[0, 0, 0, 0]) == int(a_scan()[0, 0, 0]) * 0.25 - 1024


def test_the_last_axis_of_a_4d_nifti_is_the_channel_and_one_of_length_one_is_none(tmp_path: Path) -> None:
    four = write_nifti(tmp_path / "four.nii.gz", a_scan(channels=4))
    one = write_nifti(tmp_path / "one.nii.gz", a_scan(channels=1))

    np.testing.assert_array_equal(read_image(four).voxels, a_scan(channels=4))
    assert read_header(four).channels == 4
    assert read_image(one).voxels.shape == (1, *SHAPE)


def test_a_five_dimensional_vector_nifti_has_its_components_as_channels(tmp_path: Path) -> None:
    vectors = nibabel.Nifti1Image(a_scan(channels=3).T[:, :, :, None, :], OBLIQUE)
    nibabel.save(vectors, tmp_path / "vectors.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "vectors.nii.gz").voxels, a_scan(channels=3))


def test_a_nifti_with_time_and_components_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 4, 3, 2, 2), np.int16), OBLIQUE), tmp_path / "film.nii.gz")
    with pytest.raises(ImageError, match=r"film\.nii\.gz: the file has shape \(5, 4, 3, 2, 2\)"):
        read_header(tmp_path / "film.nii.gz")


def test_a_two_dimensional_nifti_is_flat(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 4), np.int16), np.eye(4)), tmp_path / "flat.nii.gz")
    header = read_header(tmp_path / "flat.nii.gz")
    assert header.geometry.shape == (1, 4, 5)
    assert header.geometry.is_flat
    write_labels(tmp_path / "labels.nii.gz", np.ones((1, 4, 5), int), header.geometry)
    assert nibabel.load(tmp_path / "labels.nii.gz").shape == (5, 4)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_geometry_agrees_with_what_nibabel_and_simpleitk_say(tmp_path: Path, ending: str) -> None:
    write_image(tmp_path / f"scan{ending}", a_scan()[None], _orthogonal_geometry(SHAPE))
    geometry = read_header(tmp_path / f"scan{ending}").geometry
    itk = SimpleITK.ReadImage(str(tmp_path / f"scan{ending}"))
    SimpleITK.WriteImage(itk, str(tmp_path / "as_nifti.nii"))
    as_nifti = nibabel.load(tmp_path / "as_nifti.nii")

    np.testing.assert_allclose(geometry.affine, as_nifti.affine, atol=1e-5)
    assert geometry.orientation == "".join(nibabel.aff2axcodes(as_nifti.affine))
    corner = itk.TransformIndexToPhysicalPoint((4, 3, 2))
    np.testing.assert_allclose((geometry.affine @ [4, 3, 2, 1])[:3] * [-1, -1, 1], corner, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_orientation_agrees_with_nibabel_for_any_rotation_and_flip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    weights = np.sort(np.abs(turned).ravel())
    if np.diff(weights).min() < 1e-6:
        return
    affine = np.eye(4)
    affine[:3, :3] = turned * rng.uniform(0.5, 5, 3)
    geometry = Geometry((1, 1, 1), (1.0, 1.0, 1.0), affine)
    steps = {code: "RAS".find(code) if code in "RAS" else "LPI".find(code) for code in "RASLPI"}
    assert sorted(steps[code] for code in geometry.orientation) == [0, 1, 2]
    if np.abs(turned).max(axis=0).min() > 0.75:  # elsewhere the nearest axis is a matter of definition
        assert geometry.orientation == "".join(nibabel.aff2axcodes(affine))


def test_an_rgb_picture_has_three_channels_and_loses_its_alpha(tmp_path: Path) -> None:
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    write_picture(tmp_path / "rgba.png", pixels)

    image = read_image(tmp_path / "rgba.png")

    assert read_header(tmp_path / "rgba.png").channels == 3
    np.testing.assert_array_equal(image.voxels[:, 0], np.moveaxis(pixels[..., :3], -1, 0))


def test_a_grey_mask_stored_as_rgb_is_one_label_map_and_a_coloured_one_is_refused(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [128, 0]], dtype=np.uint8)
    write_picture(tmp_path / "grey.png", np.stack([mask] * 3, axis=-1))
    write_picture(tmp_path / "colour.png", np.stack([mask, mask, 255 - mask], axis=-1))

    np.testing.assert_array_equal(read_labels(tmp_path / "grey.png")[0], mask[None])
    with pytest.raises(ImageError, match=r"colour\.png: the mask holds colours"):
        read_labels(tmp_path / "colour.png")


def test_a_palette_mask_yields_its_indices(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    indices = np.array([[0, 1], [2, 1]], dtype=np.uint8)
    picture = pillow.fromarray(indices).convert("P")
    picture.putdata(indices.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "mask.png")

    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png")[0], indices[None])


def test_a_3d_tiff_is_written_with_a_note_of_its_spacing_where_reading_would_find_another(tmp_path: Path) -> None:
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for spacing in ((5.0, 0.5, 0.25), (2.0, 1.0, 1.0), (1.0, 1.0, 1.0)):
        geometry = Geometry(labels.shape, spacing, np.diag([-spacing[2], -spacing[1], spacing[0], 1.0]))
        write_labels(tmp_path / "cells.tif", labels, geometry)
        found, grid = read_labels(tmp_path / "cells.tif")
        assert grid.spacing_mm == spacing
        assert np.array_equal(found, labels)
    write_labels(tmp_path / "plain.tif", labels, Geometry(labels.shape, (1.0, 1.0, 1.0), np.eye(4)))
    assert not (tmp_path / "plain.json").exists()


def test_a_tiff_with_pages_is_a_3d_image_and_takes_its_spacing_from_the_note_beside_it(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(a_scan().astype(np.uint16)), str(tmp_path / "cells_0000.tif"))
    plain = read_image(tmp_path / "cells_0000.tif")
    (tmp_path / "cells.json").write_text('{"spacing": [5, 0.5, 0.25]}')
    noted = read_header(tmp_path / "cells_0000.tif").geometry

    np.testing.assert_array_equal(plain.voxels[0], a_scan())
    assert plain.geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert noted.spacing_mm == (5.0, 0.5, 0.25)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif", ".bmp", ".jpg"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.97])
def test_a_truncated_file_is_an_error_with_its_name_and_nothing_else_on_the_terminal(
    tmp_path: Path, ending: str, part: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 40, 40)).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(noise if ending not in (".png", ".bmp", ".jpg") else noise[0])
    path = tmp_path / f"scan{ending}"
    SimpleITK.WriteImage(image, str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])

    with pytest.raises(ImageError, match=rf"scan\{ending}: cannot be read"):
        read_image(path)

    assert capfd.readouterr().err == ""


def test_a_gzip_file_with_a_flipped_bit_fails_its_checksum(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", a_scan())
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ImageError, match=r"scan\.nii\.gz: cannot be read"):
        read_image(path)


def test_equal_labels_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_labels(tmp_path / f"{name}.nii.gz", a_label_map(), _orthogonal_geometry(SHAPE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_without_the_faster_gzip_module_files_read_and_write_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = _orthogonal_geometry(SHAPE)
    write_labels(tmp_path / "fast.nii.gz", a_label_map(), geometry)
    monkeypatch.setitem(sys.modules, "isal", None)
    write_labels(tmp_path / "plain.nii.gz", a_label_map(), geometry)

    np.testing.assert_array_equal(read_labels(tmp_path / "fast.nii.gz")[0], read_labels(tmp_path / "plain.nii.gz")[0])
    (tmp_path / "plain.nii.gz").write_bytes((tmp_path / "plain.nii.gz").read_bytes()[:-20])
    with pytest.raises(ImageError, match="truncated"):
        read_labels(tmp_path / "plain.nii.gz")


def test_the_header_of_a_truncated_nifti_can_still_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 30_000, (40, 40, 40)).astype(np.int16)
    path = write_nifti(tmp_path / "scan.nii.gz", noise)
    path.write_bytes(path.read_bytes()[:50_000])
    assert read_header(path).geometry.shape == (40, 40, 40)


def test_text_that_calls_itself_nifti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_text("not an image " * 100)
    (tmp_path / "scan.nii.gz").write_text("not an image " * 100)
    with pytest.raises(ImageError, match=r"scan\.nii: cannot be read: it holds no NIfTI header"):
        read_image(tmp_path / "scan.nii")
    with pytest.raises(ImageError, match=r"scan\.nii\.gz: cannot be read"):
        read_image(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("sizes", "told"),
    [((-3, 30, 30), "invalid .a size of -3 x 30 x 30"), ((3000, 3000, 3000), "promises 54000000000 bytes")],
)
def test_a_nifti_whose_header_has_an_impossible_size_is_refused_without_asking_for_memory(
    tmp_path: Path, ending: str, sizes: tuple[int, ...], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_nifti(tmp_path / "whole.nii", a_scan().astype(np.int16))
    raw = bytearray((tmp_path / "whole.nii").read_bytes())
    raw[42:48] = struct.pack("<3h", *sizes)
    (tmp_path / f"scan{ending}").write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
    with pytest.raises(ImageError, match=rf"scan\{ending}: cannot be read: .*{told}"):
        read_image(tmp_path / f"scan{ending}")
    assert capfd.readouterr().err == ""


def test_faults_of_a_nifti_header_are_repaired_or_refused_without_messages_of_nibabel(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_nifti(tmp_path / "scan.nii", a_scan())
    raw = bytearray(path.read_bytes())
    raw[40:42] = struct.pack("<h", 9)  # the number of axes; nibabel then takes the header for one of the other byte order
    path.write_bytes(raw)
    for _ in range(2):
        with pytest.raises(ImageError, match=r"scan\.nii: cannot be read: its header is invalid"):
            read_image(path)
    assert capfd.readouterr().err == ""


def test_a_missing_file_and_an_unknown_ending_are_named(tmp_path: Path) -> None:
    (tmp_path / "scan.xyz").touch()
    with pytest.raises(ImageError, match=r"gone\.nii\.gz: not found"):
        read_image(tmp_path / "gone.nii.gz")
    with pytest.raises(ImageError, match=r"scan\.xyz: unknown image format\. Known endings: \.nii\.gz"):
        read_header(tmp_path / "scan.xyz")


def test_whole_numbers_stored_as_floats_are_labels_but_fractions_and_nan_are_not(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "whole.nii.gz", a_label_map((0, 4)).astype(np.float32))
    fraction = write_nifti(tmp_path / "fraction.nii.gz", np.where(a_label_map() > 0, 0.5, 0).astype(np.float32))
    nothing = write_nifti(tmp_path / "nan.nii.gz", np.where(a_label_map() > 0, np.nan, 0).astype(np.float32))

    labels, _ = read_labels(whole)

    np.testing.assert_array_equal(labels, a_label_map((0, 4)))
    assert labels.dtype == np.uint8
    with pytest.raises(ImageError, match=r"fraction\.nii\.gz: 30 label values are no whole numbers, such as 0\.5"):
        read_labels(fraction)
    with pytest.raises(ImageError, match=r"nan\.nii\.gz: 30 label values are no whole numbers"):
        read_labels(nothing)


def test_a_case_stacks_its_channels_in_order(tmp_path: Path) -> None:
    for channel in range(2):
        write_nifti(tmp_path / f"a_{channel}.nii.gz", a_scan(channel))
    case = Case(id="a", images=("a_1.nii.gz", "a_0.nii.gz"))

    image = read_case(case, tmp_path, channels=("second", "first"))

    np.testing.assert_array_equal(image.voxels, np.stack([a_scan(1), a_scan(0)]))


def test_channels_on_different_grids_are_refused_with_case_file_and_both_values(tmp_path: Path) -> None:
    write_nifti(tmp_path / "t1.nii.gz", a_scan())
    write_nifti(tmp_path / "t2.nii.gz", a_scan(), affine=np.diag([1.5, 2.0, 4.0, 1.0]))
    case = Case(id="a", images=("t1.nii.gz", "t2.nii.gz"))
    with pytest.raises(
        ImageError, match=r"case a: spacing of t2\.nii\.gz is 4 x 2 x 1\.5, but that of t1\.nii\.gz is 3 x 2"
    ):
        read_case(case, tmp_path, channels=("t1", "t2"))


def test_a_case_with_too_few_channels_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", a_scan(channels=2))
    case = Case(id="a", images=("a.nii.gz",))
    with pytest.raises(ImageError, match=r"case a: 2 channels found in a\.nii\.gz; expected 3 \(x, y, z\)"):
        read_case(case, tmp_path, channels=("x", "y", "z"))


def test_formats_that_cannot_keep_label_values_are_not_written(tmp_path: Path) -> None:
    geometry = _orthogonal_geometry(SHAPE)
    with pytest.raises(ImageError, match=r"\.jpg would change label values"):
        write_labels(tmp_path / "a.jpg", a_label_map(), geometry)
    with pytest.raises(ImageError, match="a 3-D image cannot be stored"):
        write_labels(tmp_path / "a.png", a_label_map(), geometry)
    with pytest.raises(ImageError, match="can only be read"):
        write_labels(tmp_path / "a.mhd", a_label_map(), geometry)
    with pytest.raises(ImageError, match="do not lie on the grid"):
        write_labels(tmp_path / "a.nii.gz", a_label_map()[:1], geometry)
    assert list(tmp_path.iterdir()) == []


def test_names_of_images_are_taken_apart_without_regard_to_case() -> None:
    assert image_ending(Path("a.b.NII.GZ")) == ".nii.gz"
    assert image_stem(Path("folder/case_1.2.nii.gz")) == "case_1.2"
    assert is_image(Path("x.Png"))
    assert not is_image(Path("._x.png"))
    assert not is_image(Path("notes.txt"))


def test_every_reader_refuses_an_empty_file(tmp_path: Path) -> None:
    for ending in READERS:
        path = tmp_path / f"empty{ending}"
        path.touch()
        with pytest.raises(ImageError, match=rf"empty\{ending}: cannot be read"):
            read_header(path)


def _write_series(folder: Path, *, slices: list[int], uid: str) -> None:
    folder.mkdir(exist_ok=True)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in slices:
        image = SimpleITK.GetImageFromArray(np.full((4, 5), 10 * z, np.int16))
        image.SetSpacing((0.5, 0.75))
        tags = {
            "0008|0060": "MR",
            "0008|103e": f"series {uid}",
            "0020|000e": f"1.2.826.0.1.{uid}",
            "0020|000d": "1.2.826.0.1.77",
            "0008|0018": f"1.2.826.0.1.{uid}.{z}",
            "0020|0032": f"1\\2\\{3 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(z),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{uid}_{z}.dcm"))
        writer.Execute(image)


def test_a_folder_with_one_dicom_series_is_an_image(tmp_path: Path) -> None:
    _write_series(tmp_path / "scan", slices=[3, 1, 2], uid="5")

    image, header = read_image(tmp_path / "scan"), read_header(tmp_path / "scan")

    np.testing.assert_array_equal(image.voxels[0, :, 0, 0], [10, 20, 30])
    assert header.geometry.shape == image.geometry.shape == (3, 4, 5)
    np.testing.assert_allclose(header.geometry.spacing_mm, (3.0, 0.75, 0.5))
    np.testing.assert_allclose(header.geometry.affine[:3, 3], (-1, -2, 3))


def test_a_folder_with_two_dicom_series_lists_them(tmp_path: Path) -> None:
    _write_series(tmp_path / "scan", slices=[1, 2], uid="5")
    _write_series(tmp_path / "scan", slices=[1, 2, 3], uid="6")
    with pytest.raises(ImageError, match=r"2 DICOM series in one folder: .*series 5 \(2 slices.*series 6 \(3 slices"):
        read_image(tmp_path / "scan")


def test_a_dicom_series_that_lacks_a_slice_is_refused(tmp_path: Path) -> None:
    _write_series(tmp_path / "scan", slices=[1, 2, 4, 5], uid="5")
    with pytest.raises(ImageError, match=r"slices lie 3 to 6 mm apart \(the widest gap follows 5_2\.dcm\)"):
        read_image(tmp_path / "scan")


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no DICOM series found"):
        read_header(tmp_path)


@pytest.mark.real_data
def test_real_scans_read_as_nibabel_and_simpleitk_read_them(shared_data: Path) -> None:
    scans = sorted((shared_data / "small").glob("*/*")) + sorted((shared_data / "BraTS2018").glob("*/*"))[:5]
    for path in scans:
        image = read_image(path)
        itk = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(image.voxels[0], SimpleITK.GetArrayFromImage(itk))
        np.testing.assert_allclose(image.geometry.spacing_mm[::-1], itk.GetSpacing(), rtol=1e-6)
        if path.name.endswith(".nii.gz"):
            np.testing.assert_array_equal(image.geometry.affine, nibabel.load(path).affine)


@pytest.mark.real_data
def test_real_dicom_series_read_as_simpleitk_reads_them(shared_data: Path) -> None:
    for folder in sorted((shared_data / "dicom").iterdir()):
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        itk = reader.Execute()
        image = read_image(folder)
        np.testing.assert_array_equal(image.voxels[0], SimpleITK.GetArrayFromImage(itk))
        np.testing.assert_allclose(image.geometry.spacing_mm[::-1], itk.GetSpacing(), rtol=1e-6)
        corner = itk.TransformIndexToPhysicalPoint((1, 2, 3))
        np.testing.assert_allclose((image.geometry.affine @ [1, 2, 3, 1])[:3] * [-1, -1, 1], corner, atol=1e-4)


def test_label_values_that_are_whole_once_they_are_scaled_are_whole(tmp_path: Path) -> None:
    stored = np.arange(60, dtype=np.int32).reshape(SHAPE) * 100
    image = nibabel.Nifti1Image(stored.T, np.eye(4))
    nibabel.save(image, tmp_path / "plain.nii")
    raw = bytearray((tmp_path / "plain.nii").read_bytes())
    raw[112:120] = np.array([0.01, 0], dtype="<f4").tobytes()  # scl_slope and scl_inter
    (tmp_path / "scaled.nii").write_bytes(raw)
    labels, _ = read_labels(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(labels, np.arange(60).reshape(SHAPE))
    raw[112:120] = np.array([0.001, 0], dtype="<f4").tobytes()
    (tmp_path / "fractions.nii").write_bytes(raw)
    with pytest.raises(ImageError, match=r"54 label values are no whole numbers, such as 0\.1"):
        read_labels(tmp_path / "fractions.nii")
