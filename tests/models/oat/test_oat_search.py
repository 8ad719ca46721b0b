"""Search times before and after a move: paired draws, errors of the difference, and moves that are refused."""

import numpy as np
import pytest
import torch
from oat_tiny import scenes, sharpen, tiny

from vision_suite.errors import DataError
from vision_suite.models.oat import greedy, move_object, sample, search_change, search_time, swap_objects
from vision_suite.types import PADDING

LONGEST, PATHS = 8, 400


@pytest.fixture(scope="module")
def found():
    """A network, scenes, and the scenes with the target swapped with object 0, but for the second one."""
    model, batch = sharpen(tiny(seed=3)), scenes(counts=(12, 7, 9), seed=4)
    batch["target"] = torch.tensor([5, 3, 7])
    batch["targets"] = torch.arange(12) == batch["target"][:, None]
    other = torch.tensor([0, 3, 0])
    changed = swap_objects(batch, batch["target"], other)
    return model, batch, changed, search_change(model, batch, changed, LONGEST, PATHS, seed=5)


def steps_of(model, batch, count, seed):
    """(B, K) fixations until the target, path by path, from the sampled objects alone."""
    paths = sample(model, batch, LONGEST, count, generator=torch.Generator().manual_seed(seed)).sequence
    table = np.empty(paths.shape[:2])
    for scene, target in enumerate(batch["target"].tolist()):
        for number, path in enumerate(paths[scene].tolist()):
            table[scene, number] = path.index(target) + 1 if target in path else LONGEST
    return table


def test_the_error_is_that_of_the_paired_difference(found):
    model, batch, changed, change = found
    paired = steps_of(model, changed, PATHS, seed=5) - steps_of(model, batch, PATHS, seed=5)
    np.testing.assert_allclose(change.steps, paired.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(change.standard_error, paired.std(axis=1, ddof=1) / PATHS**0.5, atol=1e-12)
    assert torch.equal(change.steps, change.after.steps - change.before.steps)
    torch.testing.assert_close(change.found, change.after.found - change.before.found)


def test_the_error_is_how_much_the_change_varies(found):
    """Means over 80 groups of 50 pairs vary as much as the error of 50 pairs says."""
    model, batch, changed, _ = found
    many = search_change(model, batch, changed, LONGEST, 4000, seed=9)
    each = (many.after.each - many.before.each).view(3, 80, 50)
    observed = each.mean(dim=2).std(dim=1)
    stated = each.std(dim=2).mean(dim=1) / 50**0.5
    for scene in (0, 2):
        assert float(observed[scene] / stated[scene]) == pytest.approx(1, abs=0.25)
    # The two paths of a pair draw the same numbers, without which the error would be this.
    independent = (many.before.standard_error**2 + many.after.standard_error**2) ** 0.5
    assert (many.standard_error[[0, 2]] < independent[[0, 2]]).all()


def test_an_untouched_scene_does_not_change_at_all(found):
    model, batch, _, change = found
    assert float(change.steps[1]) == 0, "swapped with itself"
    assert float(change.standard_error[1]) == 0
    assert torch.equal(change.before.each[1], change.after.each[1])
    assert (change.steps[[0, 2]] != 0).all()
    stays = move_object(batch, torch.tensor([2, 2, 2]), batch["position"][:, 2])
    still = search_change(model, batch, stays, LONGEST, 20)
    assert (still.steps == 0).all()
    assert (still.standard_error == 0).all()
    assert torch.isnan(search_change(model, batch, stays, LONGEST, 1).standard_error).all()
    assert torch.equal(change.before.each, search_time(model, batch, LONGEST, PATHS, seed=5).each)
    fewer = {name: value[:2] for name, value in batch.items()}
    with pytest.raises(DataError, match="3 scenes before and 2 after"):
        search_change(model, batch, fewer, LONGEST)


def test_scenes_that_are_copies_of_each_other_did_not_change(found):
    """Copies, as of a batch that was sliced or moved to a device, share no tensor with the original."""
    model, batch, _, _ = found
    copies = [{name: value.clone() for name, value in batch.items()} for _ in range(2)]
    still = search_change(model, copies[0], swap_objects(copies[1], batch["target"], batch["target"]), LONGEST, 5)
    assert torch.equal(still.steps, torch.zeros(3, dtype=torch.float64))


def test_a_move_out_of_the_picture_is_refused_with_the_range():
    """Boxes of 80 x 60 pixels stand 100 x 80 apart, from 10 pixels on, in a picture of 400 x 240."""
    batch = scenes(counts=(12, 9))
    number, stay = torch.tensor([0, 2]), batch["position"][1, 2]

    def move(row, column):
        return move_object(batch, number, torch.stack([torch.tensor([row, column]), stay]))

    # The centre of object 0 is (50, 40): from column -0.5 to 3.5 and from row -0.5 to 2.5 it is in the picture.
    words = "object 0 of scene 0 cannot be moved to row 2.6, column 1, outside of the picture: its centre stays in it "
    with pytest.raises(DataError, match=f"{words}from row -0.50 to 2.50 and from column -0.50 to 3.50"):
        move(2.6, 1.0)
    for place in ((-50.0, 400.0), (1.0, 3.6), (-0.6, 0.0), (float("nan"), 0.0), (0.0, float("inf"))):
        with pytest.raises(DataError, match="outside of the picture"):
            move(*place)
    partly = move(2.5, 3.5)
    assert partly["boxes"][0, 0].tolist() == [360, 210, 440, 270], "reaches over the edge, its centre in the corner"
    with pytest.raises(DataError, match=r"positions of shape \(2,\): give \(2, 2\)"):
        move_object(batch, number, torch.zeros(2))


def test_the_range_without_a_picture_is_that_of_the_objects():
    batch = scenes(counts=(12,))
    del batch["image_size"]
    with pytest.raises(DataError, match=r"from row -0.38 to 2.38 and from column -0.40 to 3.40"):
        move_object(batch, torch.tensor([0]), torch.tensor([[2.4, 0.0]]))
    del batch["boxes"]
    with pytest.raises(DataError, match=r"from row 0.00 to 2.00 and from column 0.00 to 3.00"):
        move_object(batch, torch.tensor([0]), torch.tensor([[2.1, 0.0]]))
    moved = move_object(batch, torch.tensor([0]), torch.tensor([[2.0, 3.0]]))
    assert moved["position"][0, 0].tolist() == [2, 3]


def test_objects_that_cannot_be_moved():
    batch = scenes(counts=(12, 9))
    batch["boxes"][1, 1, 2] = batch["boxes"][1, 1, 0]
    flat, whole = torch.tensor([0, 1]), torch.tensor([0, 2])
    with pytest.raises(DataError, match="object 1 of scene 1 has a box of 0 x 60 pixels"):
        move_object(batch, flat, torch.ones(2, 2))
    with pytest.raises(DataError, match="object 1 of scene 1 has a box of 0 x 60 pixels"):
        swap_objects(batch, whole, flat)
    with pytest.raises(DataError, match="scene 1 lacks object 10: it has 9 objects"):
        swap_objects(batch, torch.tensor([0, 10]), whole)
    with pytest.raises(DataError, match="object -1 of scene 0"):
        swap_objects(batch, torch.tensor([-1, 0]), whole)
    with pytest.raises(DataError, match="whole numbers"):
        swap_objects(batch, torch.tensor([0.0, 1.0]), whole)
    # A greedy path exists in a moved scene, so that the refusals above are no matter of the scenes.
    assert (greedy(tiny(), swap_objects(batch, whole, whole), 3).sequence != PADDING).any()
