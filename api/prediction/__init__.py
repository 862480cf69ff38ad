"""Predictions by stored models: images to MNIST's form, and ONNX Runtime."""
