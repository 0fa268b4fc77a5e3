"""The commands, one module each."""

COMMANDS = {
    "run": "one composed job, or a sweep of them with -m",
    "table": "regenerate a paper's table: run what is missing, evaluate, tabulate",
    "list": "methods, losses, datasets, samplers, models, metrics, tasks, tables",
    "plan": "dry run of a table or job: what is stored, evaluations, time, memory",
    "gallery": "one static HTML page of a table's images, side by side",
    "gradients": "compare the ways to differentiate through a sampling chain",
    "zoo": "measure the embedded suite's networks and hold them against their bars",
}
