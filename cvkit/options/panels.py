"""The panels of a help page, and how a flag is described in one of them."""

import typer

PANELS = DATA, MODEL, TRAINING, OUTPUT, RUN = "Data", "Model", "Training", "Output", "Run"


def flag(
    panel: str, text: str, *, min: float | None = None, max: float | None = None
) -> typer.models.OptionInfo:
    """Return the description of a flag that is shown in one of the help panels."""
    option: typer.models.OptionInfo = typer.Option(
        help=text, rich_help_panel=panel, min=min, max=max
    )
    return option
