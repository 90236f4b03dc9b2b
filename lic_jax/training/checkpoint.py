"""Training state on disk, by orbax: the newest whole state survives if the training is killed."""

from importlib.metadata import version
from pathlib import Path
from typing import TypeVar, cast

import jax
import orbax.checkpoint as ocp

from lic_jax.errors import LicError

State = TypeVar("State")

ORBAX = version("orbax-checkpoint")
SUPPORTED = tuple(map(int, ORBAX.split(".")[:2])) >= (0, 11)
"""Older versions install with the oldest JAX, but cannot write a training's state there."""


def open_checkpoints(folder: Path, keep: int = 2) -> ocp.CheckpointManager:
    """Opens the numbered states in `folder`; makes the folder if it is missing.

    Raises:
      LicError: the installed orbax is too old.
    """
    if not SUPPORTED:
        raise LicError(f"orbax-checkpoint {ORBAX} is too old for a training; upgrade it to 0.11 or newer")
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=False)
    return ocp.CheckpointManager(Path(folder).absolute(), options=options)


def save(manager: ocp.CheckpointManager, step: int, state) -> None:
    """Writes a state; orbax renames it into place once it is whole."""
    manager.save(step, args=ocp.args.StandardSave(state), force=True)


def restore(manager: ocp.CheckpointManager, step: int, like: State) -> State:
    """Reads the state of `step`; `like` is a tree of the same structure, shapes and types."""
    template = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    # orbax annotates the trees that it restores as mappings; they are what `like` is.
    return cast(State, manager.restore(step, args=ocp.args.StandardRestore(template)))
