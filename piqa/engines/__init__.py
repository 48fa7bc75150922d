"""Exported networks, run by ONNX Runtime or OpenVINO: nothing here needs PyTorch."""
