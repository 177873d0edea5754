"""Made-up patients whose survival follows a law."""

import numpy as np

from autoseg.survival.cohort import Cohort


def draw_cohort(patients=80, *, seed=0, noise=0.2, censored=0.0, shuffled=False) -> Cohort:
    """Age shortens life, a large core too; three features mean nothing; survival may be shuffled or partly censored."""
    rng = np.random.default_rng(seed)
    age, core_ml = rng.uniform(30, 85, patients), rng.lognormal(3, 0.6, patients)
    days = 600 * np.exp(-0.03 * (age - 60)) * (core_ml / 20) ** -0.4 * np.exp(rng.normal(0, noise, patients))
    died = rng.random(patients) >= censored
    days = np.where(died, days, days * rng.uniform(0.3, 1, patients)).round()
    if shuffled:
        order = rng.permutation(patients)
        days, died = days[order], died[order]
    noise_columns = rng.normal(size=(patients, 3))
    names = tuple(f"P{index}" for index in range(patients))
    return Cohort(
        ids=names,
        groups=names,
        columns=("age_years", "TC_volume_ml", "a", "b", "c"),
        clinical=frozenset({"age_years"}),
        features=np.column_stack([age, core_ml, noise_columns]),
        days=days,
        died=died,
    )
