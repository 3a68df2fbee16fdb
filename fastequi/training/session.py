"""A training from its TOML to its files: every member of it, one after the other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastequi.errors import Stopped
from fastequi.storage.durable import naming_files, write_durably
from fastequi.storage.lock import only_writer
from fastequi.training import directory as names
from fastequi.training.config import TrainConfig, to_toml
from fastequi.training.ensemble import summarise_mean
from fastequi.training.member import Member
from fastequi.training.parallel import Team, join_team
from fastequi.training.setup import Data, prepare, read_data


class Watcher:
    """What a training tells whoever watches; this one does not listen."""

    def starts(self, member: Member) -> None:
        """A member is about to train."""

    def counts(self, what: str, done: int, total: int) -> None:
        """So many of what takes a while before or after a training are done."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What the summary.json of each member says, and that of the mean of an ensemble.

    mean  None for one model, and where the summary was of these members before
    """

    members: list[dict[str, Any]]
    mean: dict[str, Any] | None = None


def train(config: TrainConfig, resume: bool = False, watcher: Watcher | None = None) -> Trained:
    """Train every member to the end and write all files; returns the summaries.

    Among several processes, those that do not lead watch nothing, write nothing and return empty
    summaries. Raises Stopped (after a checkpoint) on SIGTERM or SIGINT, PhysicsError when a loss is
    not finite, InputError for what the input or the disk is to blame for.
    """
    with join_team(config.training.device) as team:
        watcher = watcher if watcher and team.leads else Watcher()
        data = read_data(config, lambda *done: watcher.counts("neighbour lists", *done))
        directory = Path(config.output.directory)
        with naming_files(directory), _lead(team, directory, len(member_numbers(config)), resume):
            return _train_members(config, data, team, resume, watcher)


def _train_members(
    config: TrainConfig, data: Data, team: Team, resume: bool, watcher: Watcher
) -> Trained:
    """One after the other, each alone in its folder; at the end their mean."""
    directory, numbers = Path(config.output.directory), member_numbers(config)
    several = len(numbers) > 1
    summaries, mean = [], None
    for number in numbers:
        folder = names.member_folder(directory, number, len(numbers))
        with only_writer(folder) if several and team.leads else nullcontext():
            prepared = prepare(config, team.device, data, number)
            member = Member(prepared, number, team, folder, resume)
            summaries.append(_run(member, watcher))
        is_last = number == numbers[-1]
        if member.trainer.stop_requested and not is_last:
            raise Stopped(f"stopped after member {number + 1} of {len(numbers)}")
        if several and is_last and team.leads:
            mean = summarise_mean(member, summaries, watcher.counts)
    return Trained(summaries, mean)


def member_numbers(config: TrainConfig) -> list[int]:
    """Which members are trained: all, or the one that was asked for; they count from 0."""
    t = config.training
    return list(range(t.members)) if t.member is None else [t.member - 1]


def _run(member: Member, watcher: Watcher) -> dict[str, Any]:
    if member.is_finished:
        return member.old_summary()
    if member.team.leads:
        path = Path(member.prepared.config.output.directory) / names.RESOLVED_CONFIG
        write_durably(path, to_toml(member.prepared.config).encode())
    watcher.starts(member)
    return member.run(watcher.counts)


@contextmanager
def _lead(team: Team, directory: Path, members: int, resume: bool) -> Iterator[None]:
    """The leader of the team holds the directory, and empties it for a new training."""
    if not team.leads:
        yield
        return
    with only_writer(directory):
        if resume:
            names.check_is_training(directory)
            names.check_members(directory, members)
        else:
            with ExitStack() as held:
                for folder in names.member_folders(directory):
                    held.enter_context(only_writer(folder))
                names.empty_training_directory(directory)
        yield
