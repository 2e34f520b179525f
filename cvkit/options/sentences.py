"""Sentences of the help that several flags share."""

NODES_HELP = "Number of machines, each with --devices processes; see docs/clusters.md"
SPLITS_HELP = "File of 'cvkit data split' that lists the samples of each split"
FOLD_HELP = "Fold of --splits that is the validation split, as NUMBER/FOLDS, such as 2/5"
FOLDS_HELP = f"{FOLD_HELP}; all: train a model for each fold and report mean and deviation"
JOINED = "may be repeated: several datasets are joined"
WEIGHTS_HELP = "Model: run folder, .safetensors file, name in weights/"
RUN_HELP = f"{WEIGHTS_HELP}, exported .onnx or .xml file"
