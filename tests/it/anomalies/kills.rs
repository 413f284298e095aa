//! SIGKILL in the middle.
