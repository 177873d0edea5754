"""The scores of the case list: as they are stored, else Dice, computed case by case while the page is open already."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

from autoseg.data.image import compare_grids
from autoseg.data.labels import Label, LabelScheme
from autoseg.data.readers import read_labels
from autoseg.errors import AutosegError, ViewerError
from autoseg.evaluation.scores import CaseScores, evaluate_case
from autoseg.viewer.cases import Collection, ViewCase
from autoseg.viewer.classes import counts_of_values
from autoseg.viewer.rows import KINDS, SURENESS, Row, joined, metric_described, of_report, of_scores

logger = logging.getLogger(__name__)

COMPUTED = ("dice",)
"""What is computed where no scores are stored: overlap is quick."""


class ScoreBoard:
    """The scores of all cases; those not stored are filled in by `fill`, while others read."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        stored = collection.evaluation
        self._sureness = of_report(collection.report)
        self._rows: dict[str, Row] = {} if stored is None else {case.id: of_scores(case) for case in stored.cases}
        self._problems: dict[str, str] = {}
        self._waiting = [case for case in collection.cases if stored is None and case.prediction and case.reference]
        compared = COMPUTED if self._waiting else () if stored is None else stored.metrics
        self.metrics: tuple[str, ...] = (*compared, *(SURENESS if self._sureness else ())) or COMPUTED

    def start(self) -> None:
        """Fill in what is missing, in a thread that ends with the program."""
        threading.Thread(target=self.fill, name="scores", daemon=True).start()

    def stop(self) -> None:
        """Let `fill` end after the case it is at."""
        self._stopped.set()

    def fill(self) -> None:
        """Compute what is not stored, case by case; what cannot be computed becomes the problem of its case."""
        for case in list(self._waiting):
            if self._stopped.is_set():
                return
            found = self._row_or_problem(case)
            with self._lock:
                self._waiting.remove(case)
                if isinstance(found, str):
                    self._problems[case.id] = found
                else:
                    self._rows[case.id] = found

    def _row_or_problem(self, case: ViewCase) -> Row | str:
        try:
            return of_scores(_compared(case, self._collection.scheme))
        except AutosegError as error:
            return str(error)
        except Exception:  # a thread has nobody who would see its traceback
            logger.exception("case %s: scores cannot be computed", case.id)
            return f"case {case.id}: scores cannot be computed; the terminal says why"

    def described(self) -> dict[str, Any]:
        """What the page needs: metrics with their headings, structures, and a row for each case, without those to come."""
        with self._lock:
            rows, problems, waiting = dict(self._rows), dict(self._problems), len(self._waiting)
        rows |= {case_id: joined(rows.get(case_id, {}), sure) for case_id, sure in self._sureness.items()}
        return {
            "metrics": [metric_described(name) for name in self.metrics],
            "structures": {
                kind: list(dict.fromkeys(name for row in rows.values() for name in row[kind])) for kind in KINDS
            },
            "rows": rows,
            "problems": problems,
            "waiting": waiting,
            "stored": self._collection.evaluation is not None,
        }


def _compared(case: ViewCase, scheme: LabelScheme | None) -> CaseScores:
    assert case.prediction is not None, "only such cases wait"
    assert case.reference is not None, "only such cases wait"
    predicted, geometry = read_labels(case.prediction)
    reference, expected = read_labels(case.reference)
    for apart in compare_grids(geometry, expected):
        if not apart.is_drift:
            raise ViewerError(
                f"case {case.id}: {apart.field} of the prediction is {apart.first}, of the reference {apart.second}"
            )
    return evaluate_case(
        predicted,
        reference,
        case_id=case.id,
        scheme=scheme or _scheme_of([*counts_of_values(predicted), *counts_of_values(reference)]),
        spacing_mm=expected.spacing_mm,
        is_flat=expected.is_flat,
        metrics=COMPUTED,
    )


def _scheme_of(values: Sequence[int]) -> LabelScheme:
    """Each value but 0 as a label of its own; where there is none one that occurs nowhere, as schemes need one."""
    found = sorted(set(values) - {0}) or [1]
    labels = (Label(name="background", value=0), *(Label(name=f"label_{value}", value=value) for value in found))
    return LabelScheme(labels=labels)
