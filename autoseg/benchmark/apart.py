"""A measurement of autoseg in a fresh process, so that nothing is warm that was not before."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoseg.benchmark.setting import Setting, setting_of
from autoseg.errors import BenchmarkError
from autoseg.planning.plan import Plan
from autoseg.workspace import Workspace

ROOT = Path(__file__).parents[2]


def answered(module: str, setting: Setting, **more: Any) -> str:
    """The last line that `module`, run as a program, prints; the setting and `more` go to it as JSON.

    Raises BenchmarkError when it fails.
    """
    request = {
        "workspace": str(setting.folder.path.parent),
        "dataset": setting.folder.path.name,
        "plan": setting.plan.model_dump_json(),
        "configuration": setting.configuration.name,
        "fold": setting.fold,
        "device": str(setting.device),
        "threads": setting.threads,
        **more,
    }
    environment = {**os.environ, "OMP_NUM_THREADS": str(setting.threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", module]
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise BenchmarkError(f"measuring {setting.configuration.name} failed: {last[0]}")
    return done.stdout.strip().splitlines()[-1]


def requested() -> tuple[Setting, Mapping[str, Any]]:
    """In the other process: the setting, and everything that was asked."""
    import torch

    request = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    setting = setting_of(
        Workspace(Path(request["workspace"])).dataset(request["dataset"]),
        request["configuration"],
        fold=request["fold"],
        device=request["device"],
        threads=request["threads"],
    )
    plan = Plan.model_validate_json(request["plan"])
    return replace(setting, plan=plan, configuration=plan.configurations[request["configuration"]]), request
