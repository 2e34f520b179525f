"""Sentences of the help that several flags share."""

import typer

from cvkit.catalog import SCHEDULES
from cvkit.options.panels import MODEL, flag
from cvkit.published import published_text

NODES_HELP = "Number of machines, each with --devices processes; see docs/clusters.md"
SPLITS_HELP = "File of 'cvkit data split' that lists the samples of each split"
FOLD_HELP = "Fold of --splits that is the validation split, as NUMBER/FOLDS, such as 2/5"
FOLDS_HELP = f"{FOLD_HELP}; all: train a model for each fold and report mean and deviation"
JOINED = "may be repeated: several datasets are joined"
WEIGHTS_HELP = "Model: run folder, .safetensors file, name in weights/"
RUN_HELP = f"{WEIGHTS_HELP}, exported .onnx or .xml file"
TASK_HELP = "Task, for a published name that several tasks have (default: the model's)"
INPUTS_HELP = "Files, folders (searched recursively), globs, @list.txt, or - for paths from stdin"

SCHEDULES_HELP = (
    f"{', '.join(SCHEDULES)}, or step:EPOCHS@FACTOR, such as step:30,60,90@0.1, which multiplies "
    "the rate by the factor (0.1 if omitted) after each of these epochs"
)
NORMALIZE_HELP = (
    "Mean and standard deviation by which pixels are normalised, stored in the model: those of "
    "imagenet, or of the training split (data); auto: those of --pretrained or --weights, else "
    "imagenet"
)
LOG_HELP = (
    "Also log curves and pictures of each epoch into the run folder for tensorboard, wandb, mlflow "
    "or csv; several are separated by commas"
)


def weights_flag(task: str) -> typer.models.OptionInfo:
    """Return the description of a task's `--weights`, which lists its published models."""
    published = published_text(task)
    return flag(
        MODEL,
        f"{RUN_HELP}, or published: {published}" if published else RUN_HELP,
    )
