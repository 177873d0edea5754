import json

from autoseg.benchmark.hardware import HardwareReport, Reference, Speeds, limits_of, record, recorded
from autoseg.benchmark.report import hardware_lines
from autoseg.benchmark.timing import Machine

MACHINE = Machine(processor="EPYC", threads=2, device="cpu", torch="2.13.0")
SPEEDS = Speeds(training_steps=1.0, predicted_patches=4.0, loaded_patches=400.0, exported_volumes=2.0, gflops=300.0)


def report(references=(), limits=("none",)):
    return HardwareReport(machine=MACHINE, precision="bf16", load=0.5, speeds=SPEEDS, references=references, limits=limits)


def reference(**speeds):
    return Reference(
        name="another",
        machine=MACHINE,
        precision="bf16",
        autoseg="0.1",
        measured="2026-11-21",
        load=3.0,
        speeds=SPEEDS.model_copy(update=speeds),
    )


def test_what_reaches_less_than_half_of_a_reference_is_named_as_slow():
    (found,) = limits_of(SPEEDS, (reference(exported_volumes=8.0),), waiting_steps=0.0)
    assert found == "exported volumes: 2 a second, 25% of another"


def test_loading_that_takes_a_tenth_of_a_step_is_named():
    assert limits_of(SPEEDS, (), waiting_steps=0.2) == ("reading patches takes 20% of a step: loading limits training",)


def test_the_table_says_when_and_under_which_load_references_were_measured():
    text = "\n".join(hardware_lines(report((reference(),))))
    assert "EPYC, 2 threads, torch 2.13.0, bf16, load 0.5 when it began" in text
    assert "| training steps | 1 | 1 |" in text
    assert "another: EPYC, 2 threads, torch 2.13.0, bf16, autoseg 0.1, measured 2026-11-21 with a load of 3.0" in text


def test_a_machine_measured_again_takes_the_place_of_itself(tmp_path):
    file = tmp_path / "machines.json"
    for name in ("mine", "yours", "mine"):
        record(report(), file, name=name)
    assert [entry["name"] for entry in json.loads(file.read_text())] == ["yours", "mine"]


def test_the_recorded_machines_can_be_read():
    assert all(one.speeds.training_steps > 0 for one in recorded())
