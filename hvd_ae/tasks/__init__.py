"""What is learnt: a file for each objective; `settings/tasks.py` declares them and their settings."""

import importlib

from hvd_ae.errors import Refused
from hvd_ae.runtime.users import find_by_path
from hvd_ae.settings.tasks import TASKS
from hvd_ae.settings.train import TrainSettings
from hvd_ae.tasks.task import Task


def task_of(settings: TrainSettings) -> Task:
    """The task that resolved settings name; a user's own class or function is called with them.

    Raises:
        Refused: there is no such module or class, or it makes no task.
    """
    if settings.task in TASKS:
        module, _, of_module = TASKS[settings.task].partition(":")
        return getattr(importlib.import_module(module), of_module)(settings)
    make = find_by_path("task", settings.task, "my_tasks:Contrast", "(settings)` there, returning a hvd_ae.tasks.task.Task")
    task = make(settings)
    if not isinstance(task, Task):
        raise Refused(f"task={settings.task!r} returned {type(task).__name__}: it must return a hvd_ae.tasks.task.Task")
    return task
