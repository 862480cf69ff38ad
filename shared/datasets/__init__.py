"""The datasets: where each comes from, how it is downloaded, decoded and cached."""
