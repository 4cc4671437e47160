"""Slurm's commands, as far as submitit calls them: jobs are processes of this machine, kept in a folder.

As a program, with the name of a command in front: sbatch, srun, sacct, scancel. `FAKE_SLURM` names the folder.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_SLURM", ""))


def sbatch(script: str) -> None:
    """Start the jobs of an array, or the one."""
    text = Path(script).read_text()
    (FOLDER / "scripts").mkdir(exist_ok=True)
    number = str(100 + len(list((FOLDER / "scripts").iterdir())))
    (FOLDER / "scripts" / number).write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.M)
    for task in range(int(array.group(1)) + 1) if array else [None]:
        own = {"SLURM_JOB_ID": number, "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1", "SLURM_NODEID": "0"}
        own |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "here"}
        if task is not None:
            own |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}
        name = number if task is None else f"{number}_{task}"
        with (FOLDER / f"{name}.out").open("w") as out:
            job = subprocess.Popen(
                ["bash", script], env={**os.environ, **own}, start_new_session=True, stdout=out, stderr=out
            )
        (FOLDER / f"{name}.pid").write_text(str(job.pid))
    print(f"Submitted batch job {number}")


def srun(*words: str) -> None:
    """Run what stands behind the options."""
    left = list(words)
    while left[0].startswith("-"):
        del left[: 2 if left[0] in ("--output", "--error") else 1]
    os.execvp(left[0], left)


def sacct(*_: str) -> None:
    """The states of all jobs."""
    print("JobID|State|NodeList")
    for file in sorted(FOLDER.glob("*.pid")):
        print(f"{file.stem}|{'RUNNING' if alive(int(file.read_text())) else 'NODE_FAIL'}|here")


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def scancel(*words: str) -> None:
    """End the processes of jobs."""
    for file in FOLDER.glob(f"{words[0]}*.pid"):
        os.killpg(int(file.read_text()), signal.SIGTERM)


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scancel": scancel}[sys.argv[1]](*sys.argv[2:])
