"""nnU-Net from another environment, on the same data and with the same plan."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.artefacts import digest, load, written_whole
from autoseg.benchmark.nnunet_layout import lay_out, plans_of
from autoseg.benchmark.setting import Setting
from autoseg.data.dataset import Dataset
from autoseg.errors import BenchmarkError
from autoseg.fingerprint import Fingerprint
from autoseg.planning.facts import facts_of
from autoseg.training.cases import load_splits

SCRIPT = Path(__file__).with_name("peer_nnunet.py")
NUMBER = 900
PLANS_NAME = "autosegPlans"
STAMP = "prepared.json"


@dataclass(frozen=True)
class NnUnet:
    """nnU-Net in the environment of the interpreter `python`, with all its files below `folder`."""

    python: Path
    folder: Path
    setting: Setting

    @property
    def raw(self) -> Path:
        """The data set in nnU-Net's layout."""
        return self.folder / "raw" / self._name

    @property
    def _name(self) -> str:
        return f"Dataset{NUMBER}_{self.setting.plan.dataset}"

    @property
    def _common(self) -> dict[str, Any]:
        setting = self.setting
        return {
            "dataset": NUMBER,
            "name": self._name,
            "configuration": setting.configuration.name,
            "plans_name": PLANS_NAME,
            "fold": "all" if setting.fold == "all" else int(setting.fold),
            "threads": setting.threads,
            "device": str(setting.device),
            "processes": setting.threads,
        }

    def version(self) -> str:
        """The version that is installed there. Raises BenchmarkError where there is none."""
        code = "import importlib.metadata as m; print(m.version('nnunetv2'), m.version('torch'))"
        found = self._run([str(self.python), "-I", "-c", code], "").split()
        return f"nnU-Net {found[0]} (torch {found[1]})"

    def prepare(self) -> None:
        """Lay the data out, fingerprint and preprocess it with autoseg's plan; what is up to date is left alone."""
        folder, plan = self.setting.folder, self.setting.plan
        dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
        facts = facts_of(dataset, load(Fingerprint, folder.fingerprint_file, remake="autoseg_plan DATASET"))
        plans = plans_of(plan, facts, name=PLANS_NAME, dataset=self._name, configurations=[self.setting.configuration.name])
        splits = load_splits(folder)
        stamp = {"dataset": digest(dataset), "plans": plans, "splits": digest(splits)}
        file = self.folder / STAMP
        if file.exists() and json.loads(file.read_text(encoding="utf-8")) == stamp:
            return
        file.unlink(missing_ok=True)
        lay_out(dataset, self.raw)
        self._ask("prepare", plans=plans, splits=[{"train": fold.train, "val": fold.validation} for fold in splits.folds])
        with written_whole(file) as out:
            out.write(json.dumps(stamp).encode())

    def preprocess(self) -> Mapping[str, Any]:
        """Preprocess all cases anew: {"seconds", "peak_bytes"}."""
        return self._ask("preprocess")

    def steps(self, *, loaders: int, steps: int, warmup: int) -> Mapping[str, Any]:
        """Times of single steps in a fresh process: {"seconds", "waited"} of each."""
        return self._ask("steps", loaders=loaders, steps=steps, warmup=warmup)

    def train(self, *, iterations: int, loaders: int, iterations_per_epoch: int, results: str) -> Mapping[str, Any]:
        """Train so many iterations, the schedule ended there.

        Returns {"seconds", "steps", "model", "batch_size", "peak_bytes", "parameters"}.
        """
        return self._ask(
            "train",
            results=results,
            iterations=iterations,
            loaders=loaders,
            iterations_per_epoch=min(iterations_per_epoch, iterations),
        )

    def predict(self, model: Path, *, images: Path, output: Path) -> Mapping[str, Any]:
        """Predict the images of a folder: {"seconds"}."""
        output.mkdir(parents=True, exist_ok=True)
        return self._ask("predict", model=str(model), input=str(images), output=str(output))

    def _ask(self, action: str, results: str = "results", **more: Any) -> Mapping[str, Any]:
        request = json.dumps({**self._common, **more})
        printed = self._run([str(self.python), "-I", str(SCRIPT), action], request, results=results)
        answer: Mapping[str, Any] = json.loads(printed.strip().splitlines()[-1])
        return answer

    def _run(self, command: list[str], request: str, results: str = "results") -> str:
        places = {"raw": "raw", "preprocessed": "preprocessed", "results": results}
        own = {f"nnUNet_{kind}": str(self.folder / name) for kind, name in places.items()}
        environment = {**os.environ, **own, "OMP_NUM_THREADS": str(self.setting.threads)}
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            done = subprocess.run(
                command, input=request, capture_output=True, text=True, check=False, env=environment, cwd=self.folder
            )
        except OSError as error:
            raise BenchmarkError(f"{self.python}: cannot be run ({error.strerror}). Name a Python interpreter.") from error
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            log = self.folder / "failure.log"
            log.write_text(done.stdout + "\n" + done.stderr, encoding="utf-8")
            raise BenchmarkError(
                f"nnU-Net in {self.python} failed: {last[0]}. Everything it said is in {log}. Is nnunetv2 installed there?"
            )
        return done.stdout
