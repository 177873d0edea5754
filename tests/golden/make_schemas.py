"""Writes docs/schemas/*.json, the JSON schemas of the files that others read.

Run: python tests/golden/make_schemas.py
"""

import json
from pathlib import Path

from autoseg.evaluation.compare import PairedComparison
from autoseg.evaluation.evaluate import Evaluation

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def schemas() -> dict[str, str]:
    """The text of each schema, by file name."""
    models = {"evaluation": Evaluation, "comparison": PairedComparison}
    return {f"{name}.schema.json": json.dumps(model.model_json_schema(), indent=1) + "\n" for name, model in models.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
