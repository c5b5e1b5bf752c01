"""A child process that executes one order: one folder, one order, one outcome.

`python -m trainer.worker FOLDER` reads `order.json` in the folder, writes events to its standard output as JSON lines,
logs to its standard error, and writes `outcome.json` last. If the child is killed, only the current step is lost:
another child in the same folder continues and gives the same result. `trainer.worker.protocol` defines everything that
parent and child exchange, and needs no PyTorch.
"""
