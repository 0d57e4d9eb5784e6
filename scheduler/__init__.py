"""Where sessions go: a snapshot of the cluster in, a plan out. No database, no clock, no I/O. See README.md."""
