from autoseg.data.layouts.recognise import LAYOUTS, find_dataset, recognise

__all__ = ["LAYOUTS", "find_dataset", "recognise"]
