"""What every test may use: the real scans beside the project, where they are."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines that run tests are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

SHARED_DATA = Path(os.environ.get("AUTOSEG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real scans; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real scans at {SHARED_DATA}; name their folder with AUTOSEG_TEST_DATA")
    return SHARED_DATA


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A Chromium without a window; the test is skipped where none is installed."""
    from tests.browser import running

    with running(tmp_path_factory.mktemp("browser")) as found:
        yield found
