"""The browser app and the command line `tracefix`."""
