"""NIfTI files (.nii, .nii.gz), with headers kept byte for byte."""

import gzip
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from math import prod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import written_whole
from autoseg.data.formats.header import Digest, DigestedFile, Header, unreadable
from autoseg.data.image import FLAT_SPACING_MM, Geometry, Image
from autoseg.errors import ImageError

NIFTI1_BYTES = 348
NIFTI2_BYTES = 540
_MILLIMETRES = 2  # the code of xyzt_units
_SCANNER = 1  # the code of a transform to scanner coordinates
_CHUNK = 1 << 24
_MOST_SHRUNK = 1032
"""Gzip makes nothing smaller than by this factor: 258 bytes in two bits."""
_SILENT = logging.Logger("repairs of headers", level=logging.CRITICAL + 1)


def read_header(path: Path) -> Header:
    """The header of a NIfTI file; of a compressed one only the first block is decompressed."""
    with _opened(path) as stream:
        block = _header_block(stream, path)
    return _header(block, path)


def read_image(path: Path, digest: Digest | None = None) -> Image:
    """Voxels (channel, z, y, x) and geometry; the last axis of a 4-D file is the channel.

    Voxels keep their stored type unless the header scales them: then float32 (float64 from 32 bits on). A `digest` takes
    in every byte of the file on the way. Raises ImageError for a file that ends early or fails its checksum.
    """
    with _opened(path, digest) as stream:
        block = _header_block(stream, path)
        header = _header(block, path)
        _refuse_impossible(path, _parsed(block))
        raw = _read_voxels(stream, _parsed(block), already_read=len(block), path=path)
    voxels = _scaled(raw, _parsed(block))
    return Image(voxels.reshape(header.channels, *header.geometry.shape), header.geometry)


def write_image(path: Path, voxels: NDArray[np.generic], geometry: Geometry, slope: float = 1.0) -> None:
    """Write voxels (channel, z, y, x); the header is the one `geometry` carries, so the affine stays the same bit for bit.

    Only number type, dimensions, scaling (`slope` times a stored value is what it means) and display range are set anew;
    header extensions are left out.
    """
    native = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("="))
    header = _fresh_header(geometry) if geometry.nifti_header is None else _parsed(geometry.nifti_header)
    header.set_data_dtype(native.dtype)
    header.set_data_shape(_file_shape(header, native.shape))
    header.set_slope_inter(slope, 0)
    header["cal_min"] = header["cal_max"] = 0
    size = len(header.binaryblock)
    header["vox_offset"] = size + 4
    header["magic"] = b"n+1" if size == NIFTI1_BYTES else b"n+2"
    # A header of the other byte order keeps it, and so must its voxels.
    kind, flat = native.dtype.newbyteorder(header.endianness), native.reshape(-1)
    with written_whole(path) as file, _compressed(file, path) as stream:
        stream.write(header.binaryblock + bytes(4))
        for start in range(0, len(flat), _CHUNK):
            stream.write(flat[start : start + _CHUNK].astype(kind, copy=False).tobytes())


def _gzip() -> Any:
    """The gzip module to use: isal's is several times faster, where it is installed."""
    try:
        from isal import igzip
    except ImportError:
        return gzip
    return igzip


@contextmanager
def _opened(path: Path, digest: Digest | None = None) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file; whatever goes wrong while reading them becomes an ImageError.

    A `digest` has taken in the whole file, as it is stored, when the context ends.
    """
    with _failing(path), path.open("rb") as file:
        stored = file if digest is None else DigestedFile(file, digest)
        with _decompressed(stored, path) as stream:
            yield cast(IO[bytes], stream)
        while digest is not None and stored.read(_CHUNK):
            pass


def _decompressed(stored: Any, path: Path) -> Any:
    return _gzip().open(stored, "rb") if path.name.lower().endswith(".gz") else nullcontext(stored)


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside while `path` is read becomes an ImageError."""
    try:
        yield
    except EOFError as error:
        raise unreadable(path, "it is truncated (the compressed data end early)") from error
    except (OSError, zlib.error, _isal_error()) as error:
        raise unreadable(path, error) from error


def _isal_error() -> type[Exception]:
    try:
        from isal.isal_zlib import IsalError
    except ImportError:
        return zlib.error
    return cast(type[Exception], IsalError)


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """A stream into `file`, through gzip when the path ends in .gz; no time stamp, so equal voxels give equal files."""
    if not path.name.lower().endswith(".gz"):
        yield file
        return
    module = _gzip()
    # Level 2 of isal is about as small as level 3 of zlib.
    make, level = (module.GzipFile, 3) if module is gzip else (module.IGzipFile, 2)
    with make(filename="", fileobj=file, mode="wb", compresslevel=level, mtime=0) as stream:
        yield stream


def _header_block(stream: IO[bytes], path: Path) -> bytes:
    block = stream.read(NIFTI1_BYTES)
    sizes = {struct.unpack(order + "i", block[:4])[0] for order in "<>"} if len(block) == NIFTI1_BYTES else set()
    if NIFTI2_BYTES in sizes:
        block += stream.read(NIFTI2_BYTES - NIFTI1_BYTES)
        if len(block) == NIFTI2_BYTES:
            return block
    elif NIFTI1_BYTES in sizes:
        return block
    raise unreadable(path, "it holds no NIfTI header" if block else "the file is empty")


def _parsed(block: bytes, *, repair: bool = True) -> Any:
    """The header as nibabel understands it, without its messages; `repair` lets it correct small faults."""
    nibabel: Any = import_module("nibabel")
    kind = nibabel.Nifti1Header if len(block) == NIFTI1_BYTES else nibabel.Nifti2Header
    header = kind(block, check=False)
    # Some programs leave the handedness (pixdim[0]) zero; nibabel takes that as 1, but only where it may repair the header.
    if repair:
        header.check_fix(logger=_SILENT)
    return header


def _header(block: bytes, path: Path) -> Header:
    from nibabel.spatialimages import HeaderDataError

    try:
        header = _parsed(block)
        shape = tuple(int(size) for size in header.get_data_shape())
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        kind = header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError) as error:
        raise unreadable(path, f"its header is invalid ({error})") from error
    if min(shape, default=0) < 0:
        raise unreadable(path, f"its header is invalid (a size of {' x '.join(map(str, shape))})")
    if kind.kind not in "iufb":
        raise ImageError(f"{path}: voxels are {kind}, expected plain integers or real numbers. Convert the file.")
    extra = shape[3:]
    if sum(size > 1 for size in extra) > 1:
        raise ImageError(f"{path}: the file has shape {shape}; expected three axes, and a fourth for channels.")
    x, y, z = (*shape[:3], 1, 1, 1)[:3]
    # As stored: nibabel's repair would turn a voxel size of zero into 1 mm.
    spacing = [abs(float(zoom)) for zoom in _parsed(block, repair=False)["pixdim"][3:0:-1]]
    if len(shape) < 3:
        spacing[0] = FLAT_SPACING_MM
        affine[:3, 2] *= FLAT_SPACING_MM / (np.linalg.norm(affine[:3, 2]) or 1)
    geometry = Geometry((z, y, x), (spacing[0], spacing[1], spacing[2]), affine, nifti_header=block)
    return Header(geometry, channels=prod(extra))


def _read_voxels(stream: IO[bytes], header: Any, *, already_read: int, path: Path) -> NDArray[np.generic]:
    """All voxels as one flat array in file order, which is (channel, z, y, x) with x fastest."""
    _skip_to_voxels(stream, header, already_read=already_read)
    voxels = _next_voxels(stream, prod(header.get_data_shape()), header.get_data_dtype(), path)
    # Reading past the voxels makes gzip compare its checksum.
    stream.read(1)
    return voxels


def _refuse_impossible(path: Path, header: Any) -> None:
    """Refuse a file too small for the voxels of its header before memory is asked for: a size may be damaged, too."""
    wanted = prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    stored = path.stat().st_size * (_MOST_SHRUNK if path.name.lower().endswith(".gz") else 1)
    if wanted > stored:
        raise unreadable(
            path, f"it is truncated (its header promises {wanted} bytes of voxels; at most {stored} are there)"
        )


def _skip_to_voxels(stream: IO[bytes], header: Any, *, already_read: int) -> None:
    offset = int(header.get_data_offset()) or already_read + 4
    stream.read(max(0, offset - already_read))


def _next_voxels(stream: IO[bytes], count: int, kind: "np.dtype[Any]", path: Path) -> NDArray[np.generic]:
    voxels = np.empty(count, dtype=kind)
    target = memoryview(cast(Any, voxels.view(np.uint8)))
    done = 0
    while done < len(target):
        step = cast(Any, stream).readinto(target[done : done + _CHUNK])
        if not step:
            raise unreadable(path, f"it is truncated ({done} of {len(target)} bytes of voxels are there)")
        done += step
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


class VoxelStream:
    """The voxels of a NIfTI file, little by little in the order of the file: (channel, z, y, x) with x fastest."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        block = _header_block(stream, path)
        parsed = _parsed(block)
        self.header = _header(block, path)
        self.kind: np.dtype[Any] = parsed.get_data_dtype()
        self.slope = float(parsed.get_slope_inter()[0] or 1.0)
        self._path, self._stream = path, stream
        self.left = prod(parsed.get_data_shape())
        _skip_to_voxels(stream, parsed, already_read=len(block))

    def take(self, count: int) -> NDArray[np.generic]:
        """The next `count` voxels as stored, without scaling. Raises ImageError where the file ends early or is damaged."""
        with _failing(self._path):
            found = _next_voxels(self._stream, count, self.kind, self._path)
            self.left -= count
            if self.left == 0:
                self._stream.read(1)  # past the voxels, so that gzip compares its checksum
        return found


@contextmanager
def voxel_stream(path: Path) -> Iterator[VoxelStream]:
    """The voxels of a file for as long as the context lasts. Raises ImageError for a file that cannot be read."""
    with ExitStack() as stack:
        with _failing(path):
            file = stack.enter_context(path.open("rb"))
            found = VoxelStream(stack.enter_context(_decompressed(file, path)), path)
        yield found


def _scaled(raw: NDArray[np.generic], header: Any) -> NDArray[np.generic]:
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope == 1 and intercept == 0):
        return raw
    scaled = np.empty(raw.shape, dtype=np.float64 if raw.dtype.itemsize > 2 else np.float32)
    # Piece by piece: a whole copy in double precision would be the most that reading takes.
    for start in range(0, len(raw), _CHUNK):
        piece = slice(start, start + _CHUNK)
        scaled[piece] = raw[piece].astype(np.float64) * float(slope) + float(intercept or 0)
    return scaled


def _fresh_header(geometry: Geometry) -> Any:
    """A NIfTI-1 header for a geometry that came from another format."""
    nibabel: Any = import_module("nibabel")
    header: Any = nibabel.Nifti1Header()
    header.set_data_shape(geometry.shape[::-1])
    header["pixdim"][1:4] = geometry.spacing_mm[::-1]
    header["xyzt_units"] = _MILLIMETRES
    header.set_sform(geometry.affine, code=_SCANNER)
    # A quaternion cannot hold shear; the sform above, which readers prefer, does.
    header.set_qform(geometry.affine, code=_SCANNER, strip_shears=True)
    return header


def _file_shape(header: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions to store for voxels (channel, z, y, x): a 2-D file stays 2-D, one channel needs no fourth axis."""
    channels, z, y, x = shape
    is_flat = header["dim"][0] == 2 and z == 1
    space = (x, y) if is_flat and channels == 1 else (x, y, z)
    return (*space, channels) if channels > 1 else space
