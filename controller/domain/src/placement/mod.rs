//! Placement: which queued task an executor may take, in which order, and why not.
