"""Which operations run as one kernel, and what such a kernel moves."""
