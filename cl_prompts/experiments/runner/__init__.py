"""Runs, built from settings and trained task by task.

``running.run_all`` makes the runs of a plan and ``running.resume`` finishes them, here or by an
executor (``executors``); ``execution.complete`` executes one run to its end;
``building.Builder`` makes data, stream and strategy, ``task_loop.TaskLoop`` trains one run.
``interruption`` turns signals into a saved stop.
"""
