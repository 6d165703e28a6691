//! Verdicts against the table of their codes and against a plain model.
