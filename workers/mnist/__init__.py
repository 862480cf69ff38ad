"""The model, its training, evaluation and export. Knows no database and no broker."""

import os

# TensorFlow and Keras read these when they are first imported, and nowhere else can they be told: only
# errors from C++ (its notices are for its developers), and TensorFlow whatever a ~/.keras says.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # noqa: TID251
os.environ["KERAS_BACKEND"] = "tensorflow"  # noqa: TID251
