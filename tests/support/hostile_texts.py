"""Texts that databases and encoders may refuse, for Hypothesis."""

from hypothesis import strategies as st

SPECIAL = "\x00\ud800\udfff\udcff\ufffe\uffff\U0010ffff\x1b\x7f\u2028\\\"'%_{}"

TEXTS: st.SearchStrategy[str] = st.text(st.characters() | st.sampled_from(SPECIAL), max_size=40).flatmap(
    lambda text: st.sampled_from([text, f"\x00{text}", f"{text}\ud800", text * 150])
)
"""Any text; most have a NUL, a lone surrogate or a great length."""
