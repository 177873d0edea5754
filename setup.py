"""Adds the dataset templates, which lie at the top of the repository, to the package.

Everything else about the package is in pyproject.toml.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["autoseg", "autoseg.*"]), "autoseg.dataset_templates"],
    package_dir={"autoseg.dataset_templates": "dataset_templates"},
    package_data={
        "autoseg.dataset_templates": ["*.json"],
        "autoseg.recipes": ["*.json"],
        "autoseg.report": ["templates/*"],
        "autoseg.viewer": ["page/*"],
        "autoseg.benchmark": ["*.json"],
        "autoseg": ["py.typed"],
    },
)
