"""cvkit: train, evaluate and run vision models, with numbers that can be trusted."""

__version__ = "0.1.0"


def load(weights, **options):
    """Return a ready `cvkit.tasks.predictor.Predictor` for a trained model.

    Args:
        weights: run folder, `.safetensors` file, or the name of a file in `weights/`.
        **options: any flag of the task's `predict` command, for example `batch_size=4`.

    Raises:
        cvkit.errors.CvkitError: the model cannot be found or read, or an option is unknown.
    """
    from cvkit.tasks.predictor import load_predictor

    return load_predictor(weights, **options)
