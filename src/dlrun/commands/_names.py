"""The commands by name, and what `dlrun --help` says of them. No imports: help must appear at once."""

# Name of the command: the module in dlrun.commands that has its `main(argv) -> exit code`.
COMMANDS = {
    "train": "train",
    "resume": "resume",
    "eval": "evaluate",
    "predict": "predict",
    "generate": "generate",
    "export": "export",
    "runs": "runs",
    "report": "report",
    "tensorboard": "tensorboard",
    "summary": "summary",
    "lr-find": "lr_find",
    "list": "list",
    "show": "show",
    "doctor": "doctor",
    "completion": "completion",
}
LONG = {"train", "resume", "lr-find"}
HIDDEN_COMMANDS = {"_complete": "_complete"}

HELP = """\
dlrun - config-driven experiments in deep learning

usage: dlrun COMMAND [ARGUMENTS ...]

run
  train         train a model on a dataset, or many as a sweep to find the best
  resume        carry an interrupted or finished run on, or a sweep
  eval          measure a run's model on its dataset again
  predict       apply a run's model to new inputs
  generate      write text with a language model
  export        write a run's model as a file for other programs (ONNX)

look back
  runs          a table of the runs, or of a sweep's trials: sort, filter, CSV
  show          a run or a sweep, or the config that a command would use
  report        what a sweep found, as one page with its figures
  tensorboard   open TensorBoard on the runs

find out
  summary       the layers of a model, their outputs and parameters
  lr-find       find a learning rate to begin with, in about a minute
  list          what there is to choose from, every parameter with its default
  doctor        what is installed, what hardware there is, and what will be used
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
  dlrun resume last                         carry the newest run on

A RUN is its directory, any unique part of its name, or `last`; so is a SWEEP.
SWEEP/12 is one of its trials, a run like any other.
"""
