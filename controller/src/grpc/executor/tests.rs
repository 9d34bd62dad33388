//! The executors' calls over a real connection.
