"""`autoseg STAGE ...`: every command under one name."""

import sys
from importlib import import_module

from autoseg.errors import unknown_name

COMMANDS = {
    "plan": "look at a data set, check it and plan how to train on it",
    "preprocess": "prepare the cases of a configuration (autoseg_train does it by itself)",
    "train": "train a planned configuration",
    "predict": "segment images with a trained model",
    "ensemble": "average the probabilities of earlier predictions",
    "evaluate": "compare predictions with references",
    "report": "one page on a data set, a model or predictions, and its pictures",
    "view": "cases, predictions and references in the browser",
    "select": "choose the best of what is trained, alone or together",
    "survival": "days of survival from segmentations and clinical data",
    "export": "write a model to one file, or as an ONNX graph",
    "import": "take over a model of nnU-Net, or one from a file",
    "benchmark": "measure steps, preprocessing and configurations on this machine, beside nnU-Net",
    "demo": "run everything on a small made-up data set",
}


MODULES = {"import": "import_"}
"""Modules that cannot be called like their command."""


def main() -> None:
    """Hand over to the command named first; print the list of commands without one."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if wanted in ("-h", "--help"):
        sys.stdout.write(_overview())
        return
    if wanted == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"autoseg {version('autoseg')}\n")
        return
    if wanted not in COMMANDS:
        sys.stderr.write(f"error: {unknown_name('command', wanted, COMMANDS)}\n")
        sys.exit(2)
    sys.argv = [f"autoseg {wanted}", *sys.argv[2:]]
    import_module(f"autoseg.cli.{MODULES.get(wanted, wanted)}").main()


def _overview() -> str:
    lines = [f"  {name:<12}{purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: autoseg COMMAND ...    (each is also a program of its own: autoseg_plan, autoseg_train, ...)",
            "",
            *lines,
            "",
            "autoseg COMMAND --help explains a command.",
            "",
        ]
    )
