"""Tables and pictures of runs.

In their order, each on what stands before it: `statistics` over seeds and the `published` scores of the literature;
`reading` of what runs wrote; `tables` and `figures` side by side; the `screen`. What others need of a room, its
`__init__` names.
"""
