"""NiiVue, the library that draws volumes in a browser: fetched once, compared with what is expected, kept for the user."""

import base64
import hashlib
import http.client
import io
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path

from autoseg.artefacts import written_whole
from autoseg.errors import ViewerError

logger = logging.getLogger(__name__)

VERSION = "0.69.0"
PACKAGE = f"@niivue/niivue@{VERSION}"
ADDRESS = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
LICENCE = "BSD-2-Clause"
SCRIPT = "niivue.umd.js"
FOLDER_VARIABLE = "AUTOSEG_NIIVUE"

PACKAGE_SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
SCRIPT_SHA512 = "N9yWiCB7y4Gzmv4YYoSIlwzs9fazYBlBUIpRyDmutj7jjMAjQF/ZvS5jSgGnFhbrbVDmpzQQc59tkUqXjREmfw=="
"""Digests as npm writes them, base64; the first is the `dist.integrity` that the registry publishes for the package."""

_MEMBER = f"package/dist/{SCRIPT}"
_MOST_BYTES = 32 * 2**20
_PATIENCE_S = 60.0


def script_file() -> Path:
    """Where the script of NiiVue is kept, whether it is there or not.

    The folder AUTOSEG_NIIVUE names, else the one that the system has for what a program keeps for its user.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return (Path(named).expanduser() if named else _user_folder() / f"niivue-{VERSION}") / SCRIPT


def is_installed() -> bool:
    """Whether the script is there and is the very one that is expected."""
    file = script_file()
    return file.is_file() and _sha512(file.read_bytes()) == SCRIPT_SHA512


def install(package: Path | None = None) -> Path:
    """Keep the script of NiiVue from `package`, a file of npm, or from npm's registry; returns where it is kept.

    Only this one file is taken out of the package, under a name of our own. Raises ViewerError when the package cannot be
    had, or is not the one that is expected.
    """
    content = _read(package) if package is not None else _downloaded()
    source = str(package) if package is not None else ADDRESS
    if _sha512(content) != PACKAGE_SHA512:
        raise ViewerError(
            f"{source}: is not the package {PACKAGE} (its SHA-512 differs), so nothing was installed. "
            f"Fetch it anew from {ADDRESS}"
        )
    script = _taken_out(content, source)
    with written_whole(script_file()) as file:
        file.write(script)
    return script_file()


def ensure_installed() -> Path:
    """The script of NiiVue, fetched now if it never was. Raises ViewerError as `install` does."""
    if not is_installed():
        logger.info(
            "NiiVue %s, which draws in the browser, is not here yet: fetching it once from npm's registry.", VERSION
        )
        install()
    return script_file()


def _downloaded() -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=_PATIENCE_S) as answer:
            content: bytes = answer.read(_MOST_BYTES + 1)
            return content
    except (OSError, http.client.HTTPException, ValueError) as error:
        packed = _packed_by_npm()
        if packed is not None:
            return packed
        raise ViewerError(
            f"NiiVue {VERSION}, which draws in the browser, is not installed, and {ADDRESS} cannot be reached ({error}). "
            "Connect this machine once and run: autoseg_view --install. Or fetch that file elsewhere, carry it here, and "
            f"run: autoseg_view --niivue {ADDRESS.rpartition('/')[2]}"
        ) from error


def _packed_by_npm() -> bytes | None:
    """The package as npm fetches it, which knows of mirrors and proxies of its own; None where that does not work."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination", folder]
        try:
            subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE_S, cwd=folder)
        except (OSError, subprocess.SubprocessError):
            return None
        files = list(Path(folder).glob("*.tgz"))
        return _read(files[0]) if files else None


def _read(package: Path) -> bytes:
    try:
        with package.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ViewerError(f"{package}: cannot be read ({error.strerror}). Expected the file {ADDRESS}") from error


def _taken_out(content: bytes, source: str) -> bytes:
    """The script in the package; whatever else is in there stays there."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as package:
            member = next((one for one in package if one.name == _MEMBER), None)
            stream = package.extractfile(member) if member is not None and member.isreg() else None
            script = stream.read(_MOST_BYTES) if stream is not None else b""
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ViewerError(f"{source}: cannot be unpacked ({error}). Fetch it anew from {ADDRESS}") from error
    if _sha512(script) != SCRIPT_SHA512:
        raise ViewerError(f"{source}: {_MEMBER} is missing or not as expected. Fetch it anew from {ADDRESS}")
    return script


def _sha512(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "autoseg"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "autoseg"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "autoseg"
