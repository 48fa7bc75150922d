"""The packages that scoring with an exported ONNX file takes; an installation of these alone does without PyTorch."""

LEAN = ("numpy", "pillow", "pandas", "jsonargparse", "rich", "filelock", "onnxruntime")
