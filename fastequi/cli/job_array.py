"""The script of a SLURM job array: a run per job, which goes on where it was when its time ends."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from fastequi.errors import InputError
from fastequi.storage.durable import naming_files

_SCRIPT = """\
#!/bin/bash
# Runs of fastequi, each in a job of its own: one that fails does not touch the others.
#
#   sbatch array.sh
#   sbatch --dependency=afterany:JOB --wrap "fastequi collect {relative}"    one table at the end
#
# Five minutes before its time is up a job is told to stop: it writes a checkpoint, ends with 75,
# and is queued again to go on from there. More runs: more lines in RUNS, and a longer array.
#SBATCH --job-name=fastequi
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
##SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=fastequi-%A_%a.log

RUNS=(
{runs}
)
run="${{RUNS[$SLURM_ARRAY_TASK_ID]}}"
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-1}}"

fastequi run "$run" --resume &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do  # a signal ended the waiting, not the run
    wait "$child"
    code=$?
done
if [ "$code" -eq 75 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"""


def write_job_array(configs: Sequence[Path], script: Path) -> Path:
    """Write the script for these md.tomls, by their absolute paths; returns it.

    Raises InputError for files that are not there, and where the script is.
    """
    missing = [str(config) for config in configs if not config.is_file()]
    if missing or not configs:
        raise InputError(f"no file {', '.join(missing)}" if missing else "--slurm: name md.tomls")
    if script.exists():
        raise InputError(f"{script} exists; nothing was written")
    text = _SCRIPT.format(
        last=len(configs) - 1,
        runs="\n".join(f"    {shlex.quote(str(config.absolute()))}" for config in configs),
        relative=shlex.join(map(str, configs)),
    )
    with naming_files(script):
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
    return script
