"""The results of the thesis, to be shown beside those of a study.

Source: "Histopathological image classification of breast cancer using deep learning techniques", Universidad de
Málaga, 2022, tables 1 to 6: 1,995 images of BreakHis at 40X, four networks from scratch, four folds by image.
"""

from __future__ import annotations

from typing import NamedTuple

IMAGES = 1995
CITATION = (
    "Histopathological image classification of breast cancer using deep learning techniques, Universidad de Málaga, "
    "2022"
)
NETWORKS = {
    "alexnet": "AlexNet",
    "resnet18": "ResNet 18",
    "shufflenet_v2": "ShuffleNet V2",
    "squeezenet": "SqueezeNet",
}
"""The names of the thesis's networks, by their names in `classifier.networks`."""

RATES = {0.05: 0.6919, 0.01: 0.8188, 0.005: 0.8326, 0.001: 0.8352}
"""Table 1: accuracy of AlexNet on test patches after 20 epochs, by learning rate."""


class PatchRow(NamedTuple):
    """A row of Table 2: accuracies as (mean, standard deviation over folds), and mean losses."""

    training: tuple[float, float]
    training_loss: float
    validation: tuple[float, float]
    validation_loss: float
    test: tuple[float, float]
    test_loss: float


PATCHES = {
    "alexnet": PatchRow((0.8275, 0.00966), 0.40719, (0.8313, 0.00621), 0.40344, (0.8346, 0.044435), 0.43973),
    "resnet18": PatchRow((0.9948, 0.00261), 0.01986, (0.9832, 0.00391), 0.04504, (0.8536, 0.08664), 0.80704),
    "shufflenet_v2": PatchRow((0.9772, 0.01086), 0.06364, (0.9625, 0.01317), 0.09637, (0.8249, 0.06863), 0.82653),
    "squeezenet": PatchRow((0.9085, 0.00837), 0.22691, (0.9051, 0.00794), 0.23764, (0.8206, 0.06568), 0.57792),
}
"""Table 2: accuracy and loss of patches, by network."""

CONFUSION = {
    "alexnet": (1166.75, 708.25, 278.0, 3832.0),
    "resnet18": (1261.25, 613.75, 261.0, 3849.0),
    "shufflenet_v2": (1243.0, 632.0, 345.5, 3764.5),
    "squeezenet": (1294.0, 581.0, 544.25, 3764.5),
}
"""Table 3: TN, FP, FN and TP of patches, mean over folds. SqueezeNet's do not add up in the thesis either."""

SENSITIVITY = {
    "alexnet": (0.9324, 0.6223),
    "resnet18": (0.9365, 0.6727),
    "shufflenet_v2": (0.9159, 0.6629),
    "squeezenet": (0.8676, 0.6901),
}
"""Table 4: sensitivity and specificity of patches."""

SECONDS = {"alexnet": 1634, "resnet18": 1611, "shufflenet_v2": 1768, "squeezenet": 1556}
"""Table 5: time to train all folds on a cloud GPU, in seconds."""

THRESHOLDS = {
    0.10: (30, 95, 1, 273),
    0.25: (40, 85, 2, 272),
    0.50: (64, 61, 7, 267),
    0.75: (86, 39, 15, 259),
    0.90: (93, 32, 25, 249),
}
"""Table 6: TN, FP, FN and TP of ResNet 18 on the 399 test images of one fold, by threshold."""

_LEAK = (
    "the thesis made its folds by image, so that images of one patient were in training and in test, chose its "
    "threshold on the test images, and used a random quarter of overlapping patches for validation"
)


def comparability(protocol: str, images: int, *, synthetic: bool) -> str:
    """Return sentences on whether the results of the study can be compared with those of the thesis.

    Args:
        protocol: Protocol of the study; see `trainer.choices.Protocol`.
        images: Number of images of the study.
        synthetic: Whether the images of the study are synthetic.
    """
    if protocol != "thesis":
        sentence = f"The thesis's results are shown for orientation and cannot be compared with this study's: {_LEAK}."
    else:
        sentence = (
            "The folds of this study are made by image as in the thesis, so the test results may be compared with the "
            "thesis's; both are too high for new patients. The validation results cannot be compared: the thesis "
            "validated on patches that overlap its training patches."
        )
    if synthetic:
        return f"{sentence} In addition, the images of this study are synthetic."
    if images != IMAGES:
        return (
            f"{sentence} In addition, the thesis had {IMAGES:,} images of BreakHis at 40X; this study has {images:,}."
        )
    return sentence
