"""Runs, built from settings and trained task by task.

``execution.run_all`` makes the runs of a plan and ``execution.resume`` finishes them;
``building.Builder`` makes data, stream and strategy, ``task_loop.TaskLoop`` trains one run.
``interruption`` turns signals into a saved stop.
"""
