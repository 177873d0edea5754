"""The labels and regions of BraTS, as on disk."""

from autoseg.data.labels import Label, LabelScheme, Region

BRATS = LabelScheme(
    labels=(
        Label(name="background", value=0),
        Label(name="necrotic", value=1),
        Label(name="edema", value=2),
        Label(name="enhancing", value=4),
    ),
    regions=(
        Region(name="WT", values=(1, 2, 4)),
        Region(name="TC", values=(1, 4)),
        Region(name="ET", values=(4,)),
    ),
)
