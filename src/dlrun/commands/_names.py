"""The commands by name, and what `dlrun --help` says of them. No imports: help must appear at once."""

# Name of the command: the module in dlrun.commands that has its `main(argv) -> exit code`.
COMMANDS = {
    "train": "train",
    "resume": "resume",
    "work": "work",
    "eval": "evaluate",
    "predict": "predict",
    "generate": "generate",
    "export": "export",
    "ensemble": "ensemble",
    "runs": "runs",
    "report": "report",
    "tensorboard": "tensorboard",
    "inspect": "inspect",
    "summary": "summary",
    "lr-find": "lr_find",
    "list": "list",
    "show": "show",
    "doctor": "doctor",
    "cache": "cache",
    "completion": "completion",
}
LONG = {"train", "resume", "work", "lr-find", "_worker"}
HIDDEN_COMMANDS = {"_complete": "_complete", "_worker": "_worker"}

HELP = """\
dlrun - config-driven experiments in deep learning

usage: dlrun COMMAND [ARGUMENTS ...]

run
  train         train one model, or many models as a sweep
  resume        continue an interrupted run or sweep, or train longer
  work          train trials of a sweep beside other processes
  eval          measure a run's model on a part of its dataset
  predict       apply a run's model to new inputs
  generate      write text with a language model
  export        write a run's model as a file for other programs (ONNX)
  ensemble      average the predictions of several runs, as one run

results
  runs          a table of the runs, or of a sweep's trials: sort, filter, CSV
  show          a run or a sweep, or the config that a command would use
  report        the results of a sweep, as one page with figures
  tensorboard   open TensorBoard on the runs

information
  inspect       what is in a file of data, and the command that trains on it
  summary       the layers of a model, their outputs and parameters
  lr-find       suggest a learning rate, in about a minute
  list          the options to choose from, their parameters and defaults
  doctor        check the installation and the hardware
  cache         list or clear what is kept of large data
  completion    print the script for tab completion in bash, zsh or fish

options
  -h, --help    show this help; `dlrun COMMAND --help` explains one command
  --version     show the version
  --debug       show the full traceback of an error, as HYDRA_FULL_ERROR=1 does

examples
  dlrun list model                          the models, and what can be set
  dlrun train dataset=digits model=cnn      train one
  dlrun train model=cnn model.width=64      change any value as key=value
  dlrun train -m model=mlp,cnn              a sweep: try several and compare
  dlrun runs --sort val/accuracy            which run was best?
  dlrun resume last                         continue the newest run

A RUN or SWEEP is named by its directory, a unique part of its name, or `last`.
SWEEP/12 is trial 12 of a sweep, and is used like any other run.
"""
