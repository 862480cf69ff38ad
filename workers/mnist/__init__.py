"""Training, evaluation and export of the digit classifier. Knows no database and no broker."""

import os

# TensorFlow and Keras read these settings only from the environment and only when they are first imported:
# log errors of C++ only (lower levels are for TensorFlow's developers), and ignore the backend in ~/.keras
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # noqa: TID251
os.environ["KERAS_BACKEND"] = "tensorflow"  # noqa: TID251
