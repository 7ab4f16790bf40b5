"""Build runs from settings and train them task by task.

``running.Runs`` executes the runs of a command, here or with ``executors``. ``building.build_run``
makes data, stream and strategy of a ``run.Run``, ``task_loop.TaskLoop`` trains it to its end, and
``model_of_run`` writes its model. ``continuing`` makes a run that continues another one.
"""
