"""Models out of Python: networks as ONNX, OpenVINO or torch.export files that explain themselves,
checked against PyTorch before they are kept."""
