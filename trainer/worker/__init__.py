"""Work done by order: one child process, one folder, one order, one outcome.

`python -m trainer.worker FOLDER` reads `order.json` in the folder, tells events on its standard output as JSON lines,
logs to its standard error, and writes `outcome.json` as the very last thing. A child that was killed loses nothing but
the step under way: another one in the same folder goes on and gives the same result. `trainer.worker.protocol`
holds all that both sides say to each other, and needs no PyTorch.
"""
