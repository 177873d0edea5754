"""Cases per second of the fingerprint: autoseg beside nnU-Net 2.8.1, on the same cases and the same cores.

    python docs/benchmarks/fingerprint.py BRATS2018 --nnunet-python PYTHON [--cases 16] [--pairs 3] [--processes 2]

BRATS2018 is a folder with one folder per patient (four sequences of 240 x 240 x 155 voxels and a label map, .nii.gz),
PYTHON an interpreter with nnunetv2 installed. Cases are linked into nnU-Net's layout, as often as it takes to make up
--cases. The two programs take turns (A B A B ...), each in a fresh process without any cache of its own; what the operating
system keeps of the files is warm for both after a first reading. Timed is the extraction, from the list of cases to the
fingerprint, worker processes included, and the whole process beside it. Writes a table in Markdown.

With --alone each program measures the cases one after the other in one process, and CPU seconds per case are compared: a
figure that other work on the machine hardly changes.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

DATASET = "Dataset998_Timing"
SEQUENCES = ("flair", "t1", "t1ce", "t2")

OURS = """
import sys, time
from pathlib import Path
from autoseg.data.layouts import recognise
from autoseg.fingerprint import examine
if __name__ == "__main__":
    start = time.perf_counter()
    found, problems = examine(recognise(Path(sys.argv[1])), cache=Path(sys.argv[2]), workers=int(sys.argv[3]))
    seconds = time.perf_counter() - start
    assert len(found.cases) == int(sys.argv[4]), problems
    print("seconds", seconds)
"""
THEIRS = """
import sys, time
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
if __name__ == "__main__":
    extractor = DatasetFingerprintExtractor(sys.argv[1], int(sys.argv[2]))
    extractor.show_progress_bar = False
    start = time.perf_counter()
    found = extractor.run(overwrite_existing=True)
    seconds = time.perf_counter() - start
    assert len(found["spacings"]) == int(sys.argv[3])
    print("seconds", seconds)
"""
OURS_ALONE = """
import sys, time
from pathlib import Path
from autoseg.data.layouts import recognise
from autoseg.fingerprint.run import examine_case
data = recognise(Path(sys.argv[1]))
examine_case(data.cases[0], dataset=data)  # libraries are loaded now
for case in data.cases:
    start = time.process_time()
    assert examine_case(case, dataset=data).measurement is not None
    print("seconds", time.process_time() - start)
"""
THEIRS_ALONE = """
import sys, time
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
cases = list(DatasetFingerprintExtractor(sys.argv[1], 1).dataset.values())
for turn, case in enumerate([cases[0], *cases]):
    start = time.process_time()
    DatasetFingerprintExtractor.analyze_case(case["images"], case["label"], SimpleITKIO, 10**8 // len(cases))
    print("seconds" if turn else "first", time.process_time() - start)
"""


def lay_out(patients: Path, folder: Path, *, cases: int) -> Path:
    """A data set in nnU-Net's layout with links to the patients' files."""
    raw = folder / "raw" / DATASET
    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    found = sorted(place for place in patients.iterdir() if place.is_dir())
    for index in range(cases):
        patient = found[index % len(found)]
        name = f"case_{index:03d}"
        for channel, sequence in enumerate(SEQUENCES):
            (raw / "imagesTr" / f"{name}_{channel:04d}.nii.gz").symlink_to(patient / f"{patient.name}_{sequence}.nii.gz")
        (raw / "labelsTr" / f"{name}.nii.gz").symlink_to(patient / f"{patient.name}_seg.nii.gz")
    content = {
        "channel_names": {str(index): name for index, name in enumerate(SEQUENCES)},
        "labels": {"background": 0, "necrotic": 1, "edema": 2, "enhancing": 4},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    return raw


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of the extraction and of the whole process."""
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:1])} failed:\n{done.stderr}")
    return float(done.stdout.split("seconds ")[1].split()[0]), whole


def alone(raw: Path, folder: Path, environment: dict[str, str], *, nnunet_python: str) -> str:
    """CPU seconds per case of both programs, in one process each."""
    medians = []
    programs = ((sys.executable, OURS_ALONE, str(raw)), (nnunet_python, THEIRS_ALONE, DATASET))
    for python, text, argument in programs:
        (folder / "alone.py").write_text(text)
        known = {**os.environ, **environment, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
        command = [python, str(folder / "alone.py"), argument]
        done = subprocess.run(command, env=known, capture_output=True, text=True, check=True)
        medians.append(median(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds")))
    ours, theirs = medians
    return f"CPU seconds per case, median: autoseg {ours:.2f}, nnU-Net 2.8.1 {theirs:.2f}: {theirs / ours:.1f} times\n"


def main() -> None:
    """Time both in turn and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("patients", type=Path)
    parser.add_argument("--nnunet-python", required=True)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = lay_out(asked.patients.resolve(), folder, cases=asked.cases)
        (folder / "ours.py").write_text(OURS)
        (folder / "theirs.py").write_text(THEIRS)
        places = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
        for file in raw.rglob("*.nii.gz"):
            file.read_bytes()
        if asked.alone:
            sys.stdout.write(alone(raw, folder, places, nnunet_python=asked.nnunet_python))
            return
        count, cases = str(asked.processes), str(asked.cases)
        ours, theirs = [], []
        for pair in range(asked.pairs):
            theirs.append(timed([asked.nnunet_python, str(folder / "theirs.py"), DATASET, count, cases], places))
            cache = str(folder / f"cache_{pair}")
            ours.append(timed([sys.executable, str(folder / "ours.py"), str(raw), cache, count, cases], {}))
    report(ours, theirs, cases=asked.cases, processes=asked.processes)


def report(ours: list[tuple[float, float]], theirs: list[tuple[float, float]], *, cases: int, processes: int) -> None:
    """Write medians, and the ratio of each pair."""
    lines = [
        f"{cases} cases of 240 x 240 x 155 x 4, {processes} processes, {len(ours)} pairs in turn, {platform.machine()}",
        "",
        "| | extraction (s) | cases per second | whole process (s) |",
        "|---|---|---|---|",
    ]
    for name, runs in (("nnU-Net 2.8.1", theirs), ("autoseg", ours)):
        inner, whole = (median(run[part] for run in runs) for part in (0, 1))
        lines.append(f"| {name} | {inner:.1f} | {cases / inner:.2f} | {whole:.1f} |")
    for part, what in ((0, "extraction"), (1, "whole process")):
        ratios = sorted(b[part] / a[part] for a, b in zip(ours, theirs, strict=True))
        listed = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        lines += ["", f"{what}: {median(ratios):.1f} times as fast (pairs: {listed})"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
