"""The cases of a training: which are in which fold, and that they are preprocessed."""

import logging

from autoseg.artefacts import digest, load, save
from autoseg.data.dataset import Dataset
from autoseg.data.splits import Splits, make_splits
from autoseg.errors import StaleError
from autoseg.fingerprint import Fingerprint, verify_unchanged
from autoseg.planning.plan import Plan
from autoseg.preprocessing.run import Manifest, preprocess, store_of, stored_as
from autoseg.progress import Progress
from autoseg.workspace import DatasetFolder

logger = logging.getLogger(__name__)


def load_splits(folder: DatasetFolder) -> Splits:
    """The stored splits of a data set, made now where there are none."""
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
    ids = [case.id for case in dataset.cases]
    if not folder.splits_file.exists():
        save(make_splits(ids), folder.splits_file)
    splits = load(Splits, folder.splits_file, remake="delete it and train again")
    gone = sorted(set(splits.case_ids) - set(ids))
    if gone:
        raise StaleError(
            f"{folder.splits_file}: names case {gone[0]}, which is not in the data set any more. "
            "Delete the file to have it made anew, or correct it."
        )
    unused = sorted(set(ids) - set(splits.case_ids))
    if unused:
        logger.warning(
            "%s: %d of %d cases in no fold, which will not be used: %s. Delete the file to have it made anew.",
            folder.splits_file,
            len(unused),
            len(ids),
            ", ".join(unused[:5]) + (" ..." if len(unused) > 5 else ""),
        )
    return splits


def prepare_cases(
    folder: DatasetFolder, plan: Plan, configuration: str, *, workers: int | None, progress: Progress
) -> Manifest:
    """Preprocess the cases for a configuration as far as they are not; configurations that want the same ones share them.

    Raises StaleError when the data has changed since it was planned.
    """
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
    fingerprint = load(Fingerprint, folder.fingerprint_file, remake="autoseg_plan DATASET")
    verify_unchanged(dataset, fingerprint)
    name = stored_as(plan, configuration)
    place = store_of(folder, plan, configuration)
    return preprocess(dataset, digest(fingerprint), plan, name, place, workers=workers, progress=progress)
