"""Helpers of the tests: factories, fakes, real servers, models of the product, checks of the source tree.

Everything that more than one test module uses and that is no fixture. A helper of one tier lives in that
tier's folder (`tests/faults/cluster.py`). Nothing here is collected by pytest.
"""
