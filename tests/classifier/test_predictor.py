"""Many images, one batch, the same votes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logit

from classifier import bundle, networks, votes
from classifier.bundle import SHIPPED, Bundle, BundleError
from classifier.engine.devices import DeviceError, Engine
from classifier.imaging import patches
from classifier.imaging.decode import decode
from classifier.imaging.patches import cut
from classifier.predictor import Predictor
from testing.images import noise
from testing.networks import replace_forward


@pytest.fixture(scope="module")
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor(tiny_bundle, device="cpu", precision="float32")


def test_a_batch_of_mixed_sizes_equals_one_by_one(predictor: Predictor) -> None:
    images = [noise(), noise(300, 260, seed=1), noise(225, 225, seed=2), noise(672, 448, seed=3)]
    together = predictor.predict(images)
    assert [len(p.votes) for p in together] == [15, 4, 1, 15]
    for image, prediction in zip(images, together, strict=True):
        [alone] = predictor.predict([image])
        assert [v.vote for v in alone.votes] == [v.vote for v in prediction.votes]
        np.testing.assert_allclose(
            [v.malignant_probability for v in alone.votes],
            [v.malignant_probability for v in prediction.votes],
            atol=2e-3,
        )


def test_the_batch_size_bounds_memory_and_changes_nothing(tiny_bundle: Bundle, predictor: Predictor) -> None:
    small = Predictor(tiny_bundle, device="cpu", precision="float32", batch_size=4)
    for a, b in zip(small.predict([noise()])[0].votes, predictor.predict([noise()])[0].votes, strict=True):
        assert a.malignant_probability == pytest.approx(b.malignant_probability, abs=2e-3)


def test_prediction_is_the_network_and_the_rules(tiny_bundle: Bundle, predictor: Predictor) -> None:
    boxes = tiny_bundle.metadata.grid.boxes(700, 460)
    module = tiny_bundle.module()
    with torch.inference_mode():
        logits = module(tiny_bundle.metadata.normalisation.apply(cut(noise(), boxes)))
    by_hand = votes.count(boxes, (logits[:, 1] - logits[:, 0]).tolist(), threshold=0.5, temperature=1)
    assert predictor.predict([noise()])[0].malignant_share == by_hand.malignant_share


def test_passes_may_be_begun_before_others_have_ended(predictor: Predictor) -> None:
    images = [noise(seed=seed) for seed in range(3)]
    passes = [predictor.start(images[:2]), predictor.start([]), predictor.start(images[2:])]
    found = [prediction for one in passes for prediction in one.predictions()]
    for prediction, alone in zip(found, predictor.predict(images), strict=True):
        np.testing.assert_allclose(margins(prediction), margins(alone), atol=2e-3)


def test_progress_is_told_up_to_the_end(predictor: Predictor) -> None:
    shares: list[float] = []
    predictor.start([noise(), noise(300, 260)]).predictions(shares.append)
    assert shares == sorted(shares)
    assert len(shares) > 1
    assert shares[-1] == 1


def test_a_pass_that_is_stopped_or_dropped_leaves_the_cores_to_the_next(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def counted(network: Any, inputs: torch.Tensor) -> Any:
        computed.append(len(inputs))
        return network(inputs)

    replace_forward(monkeypatch, counted)
    predictor = Predictor(tiny_bundle, device="cpu", precision="float32")

    def stop(_share: float) -> None:
        raise KeyboardInterrupt

    stopped, dropped = predictor.start([noise()] * 20), predictor.start([noise()] * 20)
    dropped.drop()
    with pytest.raises(KeyboardInterrupt):
        stopped.predictions(stop)
    assert len(predictor.predict([noise()])) == 1
    assert sum(computed) < 20 * 15


def test_an_image_alone_is_not_copied(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one is cut hundreds of times."""
    image, seen = noise(), set()

    def normalised(pixels: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.add(pixels.data_ptr())
        return patches.normalised_patches(pixels, *others)

    monkeypatch.setattr("classifier.predictor.normalised_patches", normalised)
    predictor.predict([image])
    assert seen == {image.ctypes.data}


def test_nothing_gives_nothing(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_auto_measures_and_chooses(tiny_bundle: Bundle) -> None:
    chosen = Predictor(tiny_bundle).engine
    assert isinstance(chosen, Engine)
    assert chosen.dtype in {torch.float32, torch.bfloat16}


def test_a_gpu_that_is_not_there_is_an_error(tiny_bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="Use cpu"):
        Predictor(tiny_bundle, device="cuda:99")


def test_a_device_that_does_not_exist_is_an_error(tiny_bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="no device 'gpu'"):
        Predictor(tiny_bundle, device="gpu")


@pytest.mark.slow
def test_the_shipped_model_tells_real_images_apart(breakhis) -> None:
    """Not a measure of accuracy (it was trained on these): the way from file to verdict is whole."""
    predictor = Predictor(Bundle.load(SHIPPED), precision="float32")
    right = 0
    for label in ("benign", "malignant"):
        paths = sorted((breakhis / "histology_slides/breast" / label).rglob("40X/*.jpg"))[::12][:8]
        predictions = predictor.predict([decode(path).pixels for path in paths])
        right += sum(prediction.verdict == label for prediction in predictions)
    assert right >= 12


def save(folder: Path, module: torch.nn.Module, like: Bundle, **changes: Any) -> Bundle:
    return bundle.save(folder, module.state_dict(), like.metadata.model_copy(update=changes))


def margins(prediction: votes.Prediction) -> np.ndarray:
    return logit([vote.malignant_probability for vote in prediction.votes])


def test_mirrored_variants_are_averaged(tiny_bundle: Bundle, predictor: Predictor, tmp_path: Path) -> None:
    flipping = save(tmp_path / "flips", tiny_bundle.module(), tiny_bundle, test_time_flips=True)
    image = noise(225, 225)
    variants = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    alone = [margins(predictor.predict([np.ascontiguousarray(variant)])[0]) for variant in variants]
    [together] = Predictor(flipping, device="cpu", precision="float32").predict([image])
    np.testing.assert_allclose(margins(together), np.mean(alone, axis=0), atol=2e-3)


def test_members_are_averaged(tiny_bundle: Bundle, predictor: Predictor, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = networks.create(tiny_bundle.metadata.network)
    pair = save(tmp_path / "pair", networks.ensemble([tiny_bundle.module(), other]), tiny_bundle, members=2)
    second = save(tmp_path / "second", other, tiny_bundle)
    alone = [
        margins(p.predict([noise()])[0]) for p in (predictor, Predictor(second, device="cpu", precision="float32"))
    ]
    [together] = Predictor(Bundle.load(pair.folder), device="cpu", precision="float32").predict([noise()])
    np.testing.assert_allclose(margins(together), np.mean(alone, axis=0), atol=2e-3)


def test_a_number_of_members_that_the_weights_contradict_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    wrong = save(tmp_path / "wrong", tiny_bundle.module(), tiny_bundle, members=2)
    with pytest.raises(BundleError, match="do not fit"):
        Predictor(wrong, device="cpu")
