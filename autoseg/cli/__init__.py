from autoseg.cli import early as early
