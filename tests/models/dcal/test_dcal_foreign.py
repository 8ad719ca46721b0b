"""DCAL started from files of timm and TransReID gives the outputs of the networks that the files were saved from."""

import pytest
import timm
import torch
from dcal_tiny import SMALL, pictures, tiny
from transreid_layout import trained

from vision_suite.layers.vit import blocks_of, embed_tokens, run_block
from vision_suite.weights import init_from


def save(contents, folder):
    path = folder / "weights.pth"
    torch.save(contents, path)
    return path


def after_each_block(net, x):
    found = []
    for block in blocks_of(net.vit):
        x = run_block(block, x)
        found.append(x)
    return found


def assert_close(one, two):
    torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


SIDES = {
    "none": {},
    "camera": {"cameras": 3},
    "view": {"views": 4},
    "camera+view": {"cameras": 3, "views": 4},
}


@pytest.mark.parametrize(
    ("side", "size", "stride", "jpm"),
    [
        ("none", (64, 48), 16, False),
        ("none", (64, 64), 16, True),
        ("camera", (64, 48), 12, True),
        ("view", (96, 48), 16, False),
        ("camera+view", (48, 64), 16, True),
    ],
)
def test_transreid_gives_the_same_outputs(side, size, stride, jpm, tmp_path):
    theirs = trained(**SIDES[side], image_size=size, stride=stride, jpm=jpm)
    ours = tiny(
        image_size=size, patch_stride=None if stride == 16 else stride, num_cameras=3, num_views=4,
        side={"information": side},
    ).eval()  # fmt: skip
    # As its scripts store it, with DataParallel's prefix.
    start = init_from(ours, save({f"module.{name}": value for name, value in theirs.state_dict().items()}, tmp_path))
    assert start.layout == "TransReID"
    image, camera, view = pictures(size=size), torch.tensor([0, 2, 1, 2]), torch.tensor([3, 0, 1, 2])
    place = {"none": None, "camera": camera, "view": view, "camera+view": camera * 4 + view}[side]
    with torch.no_grad():
        blocks, feature, neck, logits = theirs(image, place)
        branch = ours(image, camera=camera, view=view).sa
        found = after_each_block(ours, ours.side(embed_tokens(ours.vit, image), camera, view))
    for one, two in zip(found, blocks, strict=True):
        assert_close(one, two)
    assert_close(branch.feature, feature)
    assert_close(branch.neck, neck)
    assert_close(branch.logits, logits)
    unused = {name.split(".")[0] for name in start.left_out if not name.startswith("base.")}
    assert unused == (
        {"b2", *(f"{part}_{n}" for part in ("bottleneck", "classifier") for n in range(1, 5))} if jpm else set()
    )
    assert {name for name in start.left_out if name.startswith("base.fc")} == {"base.fc.weight", "base.fc.bias"}
    assert {name.split(".")[0] for name in start.missing} == {"glca_head"}


def test_transreids_small_vit_has_another_scale_of_attention(tmp_path):
    size = {"width": 768, "heads": 8, "depth": 1, "ratio": 3, "bias": False}
    theirs = trained(**size, scale=768**-0.5)
    arguments = {"embed_dim": 768, "num_heads": 8, "depth": 1, "mlp_ratio": 3, "qkv_bias": False}
    ours = tiny(backbone_args=arguments, glca={"enabled": False}).eval()
    init_from(ours, save(theirs.state_dict(), tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures()).sa.feature, theirs(pictures())[1], rtol=1e-9, atol=1e-9)


def test_side_information_of_other_cameras_is_left_out(tmp_path):
    theirs = trained(cameras=6)
    ours = tiny(num_cameras=3, side={"information": "camera"})
    before = ours.side.table.clone()
    start = init_from(ours, save(theirs.state_dict(), tmp_path))
    assert start.left_out["base.sie_embed"] == "6x1x32, here 3x1x32"
    assert torch.equal(ours.side.table, before)


def test_heads_of_another_size_are_left_out(tmp_path):
    theirs = trained(num_classes=7)
    ours = tiny(num_classes=5)
    start = init_from(ours, save(theirs.state_dict(), tmp_path))
    assert start.left_out["classifier.weight"] == "7x32, here 5x32"
    assert "classifier.weight (7x32, here 5x32)" in start.line
    assert torch.equal(ours.head.neck.running_var, theirs.bottleneck.running_var)


@pytest.mark.parametrize("copied", [True, False])
def test_the_global_local_branch_starts_as_configured(copied, tmp_path):
    """A copy of the last block that was taken (D8), not of the one that was there before."""
    theirs = trained(jpm=True)
    ours = tiny(glca={"copy": copied, "blocks": 2})
    start = init_from(ours, save(theirs.state_dict(), tmp_path))
    for block in ours.glca.blocks:
        same = [torch.equal(value, theirs.b1[0].state_dict()[name]) for name, value in block.state_dict().items()]
        assert set(same) == {copied}
    assert torch.equal(ours.glca.norm.weight, theirs.b1[1].weight) is copied
    assert any(name.startswith("glca.") for name in start.missing) is not copied
    assert ("copied from vit: glca.* (26 tensors)" in start.line) is copied


VITS = {
    "plain": ("vit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "registers": ("vit_tiny_patch16_224", {"reg_tokens": 2, "no_embed_class": True}),
    "layer scale": ("deit3_small_patch16_224", {"init_values": 0.3}),
}


def timm_model(kind="plain", size=(64, 48), num_classes=7, **more):
    name, extra = VITS[kind]
    torch.manual_seed(2)
    model = timm.create_model(name, img_size=size, num_classes=num_classes, **SMALL, **extra, **more).double().eval()
    for value in model.parameters():
        value.data += 0.2 * torch.randn_like(value)
    return model


def tiny_like(kind, size=(64, 48), **settings):
    name, extra = VITS[kind]
    return tiny(backbone=name, image_size=size, backbone_args=extra, **settings).eval()


@pytest.mark.parametrize("size", [(64, 48), (48, 48)])
@pytest.mark.parametrize("kind", VITS)
def test_timm_gives_the_same_outputs(kind, size, tmp_path):
    theirs = timm_model(kind, size)
    ours = tiny_like(kind, size)
    start = init_from(ours, save({"model": theirs.state_dict()}, tmp_path))
    assert start.layout == "timm"
    assert {name.split(".")[0] for name in start.left_out} <= {"head", "head_dist"}
    found, image = [], pictures(size=size)
    for block in theirs.blocks:
        block.register_forward_hook(lambda module, inputs, output: found.append(output))
    with torch.no_grad():
        feature = theirs.forward_features(image)[:, 0]
        assert_close(ours(image).sa.feature, feature)
        for one, two in zip(after_each_block(ours, embed_tokens(ours.vit, image)), found, strict=True):
            assert_close(one, two)


def test_a_classifier_of_the_same_size_is_taken(tmp_path):
    theirs = timm_model(num_classes=5)
    ours = tiny_like("plain", task="fgvc")
    init_from(ours, save(theirs.state_dict(), tmp_path))
    with torch.no_grad():
        assert_close(ours(pictures()).sa.logits, theirs(pictures()))


@pytest.mark.parametrize("size", [(96, 96), (96, 48), (32, 64)])
@pytest.mark.parametrize("kind", ["plain", "distilled", "registers"])
def test_another_picture_size_is_what_timm_makes_of_it(kind, size, tmp_path):
    theirs = timm_model(kind, (64, 64))
    path = save(theirs.state_dict(), tmp_path)
    name, extra = VITS[kind]
    resized = timm.create_model(
        name, img_size=size, num_classes=7, **SMALL, **extra, pretrained=True,
        pretrained_cfg_overlay={"file": str(path), "num_classes": 7, "custom_load": False},
    )  # fmt: skip
    ours = tiny_like(kind, size)
    start = init_from(ours, path)
    assert start.changed == {"vit.pos_embed": f"resized from 4x4 to {size[0] // 16}x{size[1] // 16}"}
    # timm's loader resamples in float32.
    torch.testing.assert_close(ours.vit.pos_embed.float(), resized.pos_embed, rtol=0, atol=1e-5)
    with torch.no_grad():
        feature = resized.double().eval().forward_features(pictures(size=size))[:, 0]
        torch.testing.assert_close(ours(pictures(size=size)).sa.feature, feature, rtol=0, atol=1e-4)


def test_a_distilled_file_in_a_plain_vit_loses_one_token(tmp_path):
    theirs = timm_model("distilled")
    ours = tiny_like("plain")
    start = init_from(ours, save(theirs.state_dict(), tmp_path))
    assert torch.equal(ours.vit.pos_embed[:, 0], theirs.pos_embed[:, 0])
    assert torch.equal(ours.vit.pos_embed[:, 1:], theirs.pos_embed[:, 2:])
    assert "dist_token" in start.left_out


def test_a_plain_file_in_a_distilled_vit_leaves_its_token(tmp_path):
    theirs = timm_model("plain")
    ours = tiny_like("distilled")
    before = ours.vit.pos_embed.clone()
    start = init_from(ours, save(theirs.state_dict(), tmp_path))
    assert torch.equal(ours.vit.pos_embed[:, 0], theirs.pos_embed[:, 0])
    assert torch.equal(ours.vit.pos_embed[:, 1], before[:, 1])
    assert torch.equal(ours.vit.pos_embed[:, 2:], theirs.pos_embed[:, 1:])
    assert "vit.dist_token" in start.missing


def test_forms_of_timms_older_files(tmp_path):
    """Patches embedded by a linear layer, DeiT III's names, DINOv2's registers, the norm of averaged patches."""
    theirs = timm_model("layer scale")
    old = {}
    for name, value in theirs.state_dict().items():
        name = name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")
        name = "fc_" + name if name.startswith("norm.") else name
        old[name] = value.flatten(1) if name == "patch_embed.proj.weight" else value
    ours = tiny_like("layer scale")
    start = init_from(ours, save(old, tmp_path))
    with torch.no_grad():
        assert_close(ours(pictures()).sa.feature, theirs.forward_features(pictures())[:, 0])
    assert not [name for name in start.missing if name.startswith("vit.")]


def test_dinov2s_registers(tmp_path):
    ours = tiny_like("registers")
    theirs = timm_model("registers").state_dict()
    file = {**theirs, "register_tokens": theirs.pop("reg_token"), "mask_token": torch.zeros(1, 32)}
    file.pop("reg_token")
    position = torch.randn(1, 1, 32, dtype=torch.float64)
    file["pos_embed"] = torch.cat([position, theirs["pos_embed"]], dim=1)
    expected = timm.models.vision_transformer.checkpoint_filter_fn(dict(file), timm_model("registers"))
    init_from(ours, save(file, tmp_path))
    for name in ("cls_token", "reg_token", "pos_embed"):
        assert torch.equal(ours.vit.get_parameter(name), expected[name]), name
