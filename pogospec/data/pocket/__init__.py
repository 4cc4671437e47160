"""The embedded suite: small sets of real MuJoCo physics that ship with the package."""
