"""Operations on jobs, without HTTP: submission, sweeps, batches, comparison, watching."""
