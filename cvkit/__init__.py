"""cvkit: train, evaluate and run vision models, with numbers that can be trusted."""

__version__ = "0.1.0"


def load(weights, task=None, **options):
    """Return a ready `cvkit.tasks.predictor.Predictor` for a trained model.

    Args:
        weights: run folder, `.safetensors` file, the name of a file in `weights/`, or a published
            name such as `imagenet`, which is downloaded on first use.
        task: such as `"instance"`; only needed for names that are published for several tasks.
        **options: any flag of the task's `predict` command, for example `batch_size=4`.

    Raises:
        cvkit.errors.CvkitError: the model cannot be found or read, or an option is unknown.
    """
    from cvkit.tasks.predictor import load_predictor

    return load_predictor(weights, task, **options)
