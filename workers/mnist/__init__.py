"""Training, evaluation and export of the digit classifier. Uses neither the database nor the broker."""

import os
import sys

# TensorFlow and Keras read these settings only from the environment and only when they are first imported:
# log errors of C++ only (lower levels are for TensorFlow's developers), and ignore the backend in ~/.keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # noqa: TID251
os.environ["KERAS_BACKEND"] = "tensorflow"  # noqa: TID251

# Keras imports scikit-learn, if it is installed, for wrappers that nothing here uses: a second and 60 MB
if "sklearn" not in sys.modules:
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # makes Python refuse the import
    import keras  # noqa: F401

    del sys.modules["sklearn"]
