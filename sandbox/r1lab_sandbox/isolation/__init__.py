"""The walls around a program: namespaces, file system, system-call filter, limits, control groups."""
