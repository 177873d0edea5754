"""Asking for a training in one line: what belongs to the request and what to the means is told apart by name."""

from dataclasses import fields
from functools import partial

from autoseg import cascade
from autoseg.training import run
from autoseg.training.request import Means, Training


def asked(way, folder, configuration=None, **options):
    """`way` (a function that trains) with all `options` where they belong."""
    named = {field.name for field in fields(Training)}
    training = Training(configuration, **{name: value for name, value in options.items() if name in named})
    means = Means(**{name: value for name, value in options.items() if name not in named})
    return way(folder, training, means=means)


train = partial(asked, run.train)
train_with_first_stage = partial(asked, cascade.train)
