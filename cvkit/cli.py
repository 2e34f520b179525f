"""The command tree, built from `options.OPTIONS`. Imports nothing heavy."""

import dataclasses
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise

import typer
import typer.core

from cvkit import __version__
from cvkit.catalog import TASKS, resolve
from cvkit.config import assemble
from cvkit.errors import CvkitError, Interrupted, MachineError, UsageError
from cvkit.helptext import in_panel_order, render, short_help
from cvkit.options.base import Command, hints
from cvkit.options.tree import HANDLERS, OPTIONS

# Typer carries its own copy of Click; BadParameter < UsageError < ClickException is its public end.
CLICK_ERROR = typer.BadParameter.__mro__[2]


class _Page:
    """Shows the page of `cvkit.helptext` for a Typer command or group."""

    def format_help(self, ctx: typer.Context, formatter: object) -> None:
        """Write the page."""
        formatter.write(render(tuple(ctx.command_path.split()[1:])))


class _Command(_Page, typer.core.TyperCommand):
    """A verb."""


class _Group(_Page, typer.core.TyperGroup):
    """A task, or cvkit itself."""


def build_app() -> typer.Typer:
    """Return the Typer application of `OPTIONS`."""
    settings = {"cls": _Group, "rich_markup_mode": None}
    app = typer.Typer(name="cvkit", **settings)
    app.callback()(_root)
    for name, entry in OPTIONS.items():
        if isinstance(entry, dict):
            group = typer.Typer(**settings)
            for verb, options_class in entry.items():
                _add(group, (name, verb), options_class)
            app.add_typer(group, name=name, short_help=short_help((name,)))
        else:
            _add(app, (name,), entry)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cvkit {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version"
    ),
) -> None:
    """Nothing: the commands do the work."""


def _add(app: typer.Typer, path: tuple[str, ...], options_class: type[Command]) -> None:
    command = app.command(path[-1], cls=_Command, short_help=short_help(path))
    command(_adapter(path, options_class))


def _adapter(path: tuple[str, ...], options_class: type[Command]) -> Callable[..., None]:
    """Return a function whose signature is the options dataclass, as Typer wants it."""

    def run(ctx: typer.Context, **values: object) -> None:
        source = {name: ctx.get_parameter_source(name) for name in values}
        given = {name for name, where in source.items() if where and where.name != "DEFAULT"}
        options = assemble(options_class, values, given)
        task = path[:1] if path[0] in TASKS else ()
        try:
            code = resolve(HANDLERS[path[-1]])(options, *task)
        except KeyboardInterrupt as error:  # Typer would leave without a word
            raise _interrupted(error) from error
        raise typer.Exit(code)

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    types = hints(options_class)
    for field in in_panel_order(options_class):
        option = types[field.name].__metadata__[0]
        if isinstance(option, typer.models.OptionInfo):
            option.envvar = f"CVKIT_{path[-1]}_{field.name}".upper()
            option.show_envvar = False
            if field.default is False and not option.param_decls:
                option.param_decls = (f"--{field.name.replace('_', '-')}",)  # without a --no-...
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            default = inspect.Parameter.empty
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=types[field.name],
            )
        )
    run.__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with one of `EXIT_CODES`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(arguments))


def _interrupted(error: BaseException) -> Interrupted:
    """Return what a KeyboardInterrupt means, whose argument may be the signal."""
    return Interrupted("interrupted", signal_number=(*error.args, signal.SIGINT)[0])


def _interrupt(number: int, frame: object) -> None:
    """End like Ctrl-C does, until a command handles signals itself."""
    raise KeyboardInterrupt(number)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    as_json = "--json" in arguments
    if (page := _requested_page(arguments)) is not None:
        print(page, end="")
        return 0
    try:
        code = build_app()(arguments, prog_name="cvkit", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except CvkitError as error:
        failure = error
    except CLICK_ERROR as error:
        failure = _usage_error(error, arguments)
    except (KeyboardInterrupt, typer.Abort) as error:
        failure = _interrupted(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MemoryError:
        failure = MachineError(
            "out of memory", code="machine.memory", hint="a smaller --batch-size"
        )
    except Exception as error:
        failure = _machine_failure(error)
        if failure is None:
            return _report_bug(error, as_json, "--debug" in arguments)
    if "--debug" in arguments:
        import traceback

        traceback.print_exception(failure)
    return _report(failure, as_json)


def _requested_page(arguments: list[str]) -> str | None:
    """Return the page of `[TASK [VERB]] --help`, or of a group without a command.

    It needs no command tree, so it comes fast.
    """
    asked = arguments[-1:] == ["--help"]
    path = tuple(arguments[:-1] if asked else arguments)
    entry: object = OPTIONS
    for name in path:
        entry = entry.get(name) if isinstance(entry, dict) else None
    return render(path) if isinstance(entry, dict) or (asked and entry is not None) else None


def _usage_error(error: Exception, arguments: list[str]) -> UsageError:
    """Return Typer's complaint about the command line as one line that names the value."""
    command = getattr(getattr(error, "ctx", None), "command_path", "cvkit")
    message = " ".join(error.format_message().split())
    for flag, value in pairwise(arguments):
        if f"'{flag}'" in message and repr(value) not in message:
            message = message.replace(f"'{flag}'", f"'{flag} {value}'")
    return UsageError(message, code="usage", hint=f"{command} --help")


def _machine_failure(error: Exception) -> MachineError | None:
    """Return the `MachineError` behind a library's exception, if the machine is at fault."""
    text = str(error)
    if "DataLoader worker" in text or type(error).__name__ == "BrokenProcessPool":
        return MachineError(
            " ".join(text.split()), code="machine.worker", hint="try --workers 0, or more memory"
        )
    if "out of memory" in text or "can't allocate memory" in text:
        return MachineError(
            text.splitlines()[0], code="machine.memory", hint="a smaller --batch-size or image"
        )
    return None


def _report(failure: CvkitError, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "error": failure.as_json()}))
    message = str(failure).encode("utf-8", "backslashreplace").decode()
    print(f"error: {message}", file=sys.stderr)
    return failure.exit_code


def _report_bug(error: Exception, as_json: bool, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    bug = CvkitError(
        f"this is a bug in cvkit: {type(error).__name__}: {error}",
        code="bug",
        hint="run again with --debug and report the traceback",
    )
    bug.exit_code = 1
    return _report(bug, as_json)
