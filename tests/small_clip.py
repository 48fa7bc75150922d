"""CLIPs small enough to train in a test: `architecture` of LIQE and of CLIP-IQA."""

_TEXT = {"layers": 1, "width": 64, "heads": 2}

VIT = {"embed_dim": 64, "vision_cfg": {"layers": 1, "width": 64, "head_width": 32}, "text_cfg": _TEXT}
RESNET = {"embed_dim": 64, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8}, "text_cfg": _TEXT}
