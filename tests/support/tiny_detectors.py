"""Open-vocabulary detectors of transformers with random weights, a few thousand parameters each, saved to a folder."""

import json
from pathlib import Path

import torch

LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
KINDS = ("grounding-dino", "mm-grounding-dino", "owlv2", "omdet-turbo")
MAX_TEXT = 24  # tokens of a prompt of the Grounding DINOs; two of them are special


def write_detector(folder: Path, kind: str) -> Path:
    """Save a model with its processor."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    makers = {"grounding-dino": grounding, "mm-grounding-dino": grounding, "owlv2": owlv2, "omdet-turbo": omdet}
    processor, model = makers[kind](folder, kind)
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def bert_tokenizer(folder: Path, further: tuple[str, ...] = ()):
    """Letters as words and word pieces, and further words; the marks that end a phrase have BERT's own numbers."""
    from transformers import BertTokenizerFast

    words = [f"[unused{number}]" for number in range(1100)]
    words[0], words[100], words[101], words[102], words[103] = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
    words[1012], words[1029] = ".", "?"
    words[200:226], words[300:326] = LETTERS, [f"##{letter}" for letter in LETTERS]
    words[400 : 400 + len(further)] = further
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return BertTokenizerFast(str(folder / "vocab.txt"))


def clip_tokenizer(folder: Path, length: int):
    """Letters as CLIP's tokens; number 0 is the padding."""
    from transformers import CLIPTokenizer

    words = ["!", *LETTERS, *[f"{letter}</w>" for letter in LETTERS], ",</w>", ".</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    return CLIPTokenizer(*files, pad_token="!", model_max_length=length), len(words)


def grounding(folder: Path, kind: str):
    """One layer each of text, image and both; 9 boxes."""
    import transformers
    from transformers import BertConfig, GroundingDinoImageProcessor, GroundingDinoProcessor, SwinConfig

    tokenizer = bert_tokenizer(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    settings = {
        "backbone_config": SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        "text_config": BertConfig(
            vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        ),
        "num_queries": 9, "encoder_layers": 1, "encoder_ffn_dim": 16, "encoder_attention_heads": 2,
        "decoder_layers": 2, "decoder_ffn_dim": 16, "decoder_attention_heads": 2, "d_model": 32,
        "num_feature_levels": 3, "max_text_len": MAX_TEXT,
    }  # fmt: skip
    name = "GroundingDino" if kind == "grounding-dino" else "MMGroundingDino"
    config = getattr(transformers, f"{name}Config")(**settings)
    return GroundingDinoProcessor(images, tokenizer), getattr(transformers, f"{name}ForObjectDetection")(config)


def owlv2(folder: Path, kind: str):
    """Two layers over patches of 16 pixels: 16 boxes."""
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    tokenizer, size = clip_tokenizer(folder, 24)
    common = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={
            **common, "vocab_size": size, "max_position_embeddings": 24, "pad_token_id": 0,
            "bos_token_id": size - 2, "eos_token_id": size - 1,
        },
        vision_config={**common, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )  # fmt: skip
    model = Owlv2ForObjectDetection(config)
    with torch.no_grad():
        # Fresh heads answer 0 or 1 everywhere: boxes without area, and equal scores.
        for layer in (model.box_head.dense2, model.class_head.logit_scale, model.class_head.logit_shift):
            layer.weight.mul_(0.02)
    return Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer), model


def omdet(folder: Path, kind: str):
    """One layer of each kind; 12 boxes."""
    from transformers import (
        CLIPTextConfig,
        DetrImageProcessor,
        OmDetTurboConfig,
        OmDetTurboForObjectDetection,
        OmDetTurboProcessor,
        SwinConfig,
    )  # fmt: skip

    tokenizer, size = clip_tokenizer(folder, 77)
    config = OmDetTurboConfig(
        text_config=CLIPTextConfig(
            vocab_size=size, hidden_size=24, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            projection_dim=16, max_position_embeddings=77, pad_token_id=0, bos_token_id=size - 2,
            eos_token_id=size - 1,
        ),
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        image_size=64, apply_layernorm_after_vision_backbone=False,
        text_projection_in_dim=24, text_projection_out_dim=24, task_encoder_hidden_dim=16,
        class_embed_dim=24, num_queries=12, encoder_hidden_dim=16, vision_features_channels=[16, 16, 16],
        encoder_in_channels=[16, 32, 64], encoder_dim_feedforward=16, encoder_attention_heads=2,
        decoder_hidden_dim=16, decoder_num_heads=2, decoder_num_layers=1, decoder_dim_feedforward=16,
    )  # fmt: skip
    images = DetrImageProcessor(size={"height": 64, "width": 64})
    return OmDetTurboProcessor(images, tokenizer), OmDetTurboForObjectDetection(config)
