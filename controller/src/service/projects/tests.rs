//! What projects promise, on a real store and real repositories.
