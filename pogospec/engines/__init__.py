"""Where the runs of suites and sweeps are computed: on this machine, by Ray, or by Slurm, which schedule them.

base.py    what an engine is, and how one is named: ray, ray:ADDRESS, slurm:PARTITION, local
unit.py    what is handed to a worker: a file in the folder of the runs
lease.py   who works on a unit, heard of every few seconds, and how it ended
start.py   what an engine runs on the machine of a worker: a process that trains a unit
"""
