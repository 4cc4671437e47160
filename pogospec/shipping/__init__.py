"""Policies that leave the house: files that act without this package, each with a card and a loader beside it.

trace       what a policy computes as a list of simple operations, read off the program that JAX traces
graph       the list as it grows; rules, places: what becomes of each primitive of JAX
formats/    one file a format: how a policy is written
loaders/    what reads them again, copied beside the file; none imports this package
check       the file, read by its loader, beside the policy
card        what a person should know of the file
write       all of it in its order
"""
