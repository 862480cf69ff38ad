"""Models as files of TensorFlow.js, which `tf.loadLayersModel` reads: `model.json` and a file of weights.

The format of the weights file is `shared.formats.weights`. The layers, those of `workers.mnist.model`, are
described in the format of Keras 2, which TensorFlow.js reads.
"""

from typing import Any

from shared.formats.weights import ARRAYS, CLASSES, IMAGE_SHAPE
from shared.schemas import ModelKind

WEIGHTS_FILE = "weights.bin"

_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal", "seed": None},
}


def model_json(kind: ModelKind, weights_path: str) -> dict[str, Any]:
    """Return the content of `model.json` for an architecture.

    Args:
        weights_path: the path of the weights file, relative to `model.json`.
    """
    weights = [{"name": array.name, "shape": list(array.shape), "dtype": "float32"} for array in ARRAYS[kind]]
    return {
        "format": "layers-model",
        "generatedBy": "Trainshed",
        "convertedBy": None,
        "modelTopology": {
            "class_name": "Sequential",
            "config": {"name": kind.value, "layers": _LAYERS[kind]},
            "keras_version": "2.15.0",
            "backend": "tensorflow",
        },
        "weightsManifest": [{"paths": [weights_path], "weights": weights}],
    }


def _layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {
        "class_name": class_name,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
    }


def _with_weights(class_name: str, name: str, activation: str, **config: Any) -> dict[str, Any]:
    zeros = {"class_name": "Zeros", "config": {}}
    return _layer(
        class_name,
        name,
        activation=activation,
        use_bias=True,
        kernel_initializer=_INITIALIZER,
        bias_initializer=zeros,
        **config,
    )


def _input() -> dict[str, Any]:
    config = {"batch_input_shape": [None, *IMAGE_SHAPE], "dtype": "float32", "sparse": False}
    return {"class_name": "InputLayer", "config": {**config, "name": "images"}}


def _convolution(name: str, filters: int) -> dict[str, Any]:
    return _with_weights(
        "Conv2D",
        name,
        "relu",
        filters=filters,
        kernel_size=[5, 5],
        strides=[1, 1],
        padding="valid",
        data_format="channels_last",
        dilation_rate=[1, 1],
    )


def _pooling(name: str) -> dict[str, Any]:
    size = {"pool_size": [2, 2], "strides": [2, 2]}
    return _layer("MaxPooling2D", name, **size, padding="valid", data_format="channels_last")


def _flatten() -> dict[str, Any]:
    return _layer("Flatten", "flatten", data_format="channels_last")


def _dense(name: str, units: int, activation: str) -> dict[str, Any]:
    return _with_weights("Dense", name, activation, units=units)


_LAYERS = {
    ModelKind.CNN: [
        _input(),
        _convolution("conv1", 8),
        _pooling("pool1"),
        _convolution("conv2", 16),
        _pooling("pool2"),
        _flatten(),
        _dense("probabilities", CLASSES, "softmax"),
    ],
    ModelKind.DENSE: [
        _input(),
        _flatten(),
        _dense("hidden", 42, "relu"),
        _dense("probabilities", CLASSES, "softmax"),
    ],
}
