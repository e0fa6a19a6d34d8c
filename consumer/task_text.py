"""A task for people: what its report says, laid out."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from consumer.status_text import clock
from consumer.task_report import TaskSlot, TaskState
from consumer.terminal import shown

COLOURS: Final = {"done": "green", "retrying": "yellow"}


def task_line(task: TaskState, now: str) -> Text:
    """Tell of one task in a line."""
    line = Text.assemble((f"{task.name:<9} ", "dim"), (task.state, COLOURS.get(task.state, "")))
    facts = ", ".join(f"{name} {shown(str(value))}" for name, value in (task.detail or {}).items())
    if task.state == "done" and task.done_at is not None:
        return line.append(f", {facts}, since {clock(task.done_at, now)}")
    if task.error is not None:
        line.append(f", {shown(task.error)}")
    return line if task.due is None else line.append(f"; again {clock(task.due, now)}")


def slot_line(slot: TaskSlot) -> Text:
    """Tell of a schedule in a line."""
    line = Text.assemble((f"{slot.name:<28}", "bold"))
    if slot.every is None:
        return line.append("when somebody asks")
    line.append(f"every {slot.every:g} s")
    if slot.done_at is not None:
        line.append(f", last done {slot.done_at}")
    if slot.state is not None and slot.state != "done":
        line.append(f", {slot.state}", COLOURS.get(slot.state, ""))
    return line if slot.next_at is None else line.append(f", next {slot.next_at}")
