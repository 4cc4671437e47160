"""Rules that join several keys of a spec, by subject; checked before any tracing."""
