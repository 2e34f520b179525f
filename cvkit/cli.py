"""The command tree, built from `options.OPTIONS`. Imports nothing heavy."""

import copy
import dataclasses
import inspect
import os
import select
import signal
import sys
import typing
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

import typer
import typer.core

from cvkit import __version__
from cvkit.catalog import TASKS, resolve
from cvkit.config import EMPTY_HINT, FOR_ALL, assemble, misnamed_variables, variable
from cvkit.early import answer_signals, command_line, how_to_talk, print_failure, speaks
from cvkit.errors import (
    CvkitError,
    CvkitWarning,
    Interrupted,
    MachineError,
    UsageError,
    as_cvkit_error,
)
from cvkit.helptext import (
    HELP_FLAGS,
    in_panel_order,
    name_text,
    render,
    short_help,
    unknown_command,
)
from cvkit.mistakes import explain, path_of, variable_of
from cvkit.options.described import description, hints, never_empty, type_of
from cvkit.options.job import Command
from cvkit.options.tree import HANDLERS, OPTIONS, options_of
from cvkit.printable import printable

if TYPE_CHECKING:
    from typer._click import ClickException, Context, HelpFormatter
    from typer._click import Command as ClickCommand
else:
    # Typer has its own copy of Click; only BadParameter < UsageError < ClickException is public.
    ClickException = typer.BadParameter.__mro__[2]

PIPE_CLOSED = 141


class _Page:
    """Shows the help page of `cvkit.helptext` for a Typer command or group."""

    def format_help(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the page."""
        formatter.write(render(tuple(ctx.command_path.split()[1:])))


class _Command(_Page, typer.core.TyperCommand):
    """A verb."""

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Read the arguments of the command line.

        Raises:
            UsageError: an argument or a variable cannot be used; the message contains its value.
        """
        arguments = list(args)  # the parser empties its list
        try:
            rest = super().parse_args(ctx, args)
        except ClickException as error:
            raise explain(error, ctx, arguments) from error
        _refuse_empty(ctx, arguments)
        return rest


def _refuse_empty(ctx: "Context", arguments: list[str]) -> None:
    """Refuse an empty argument in place of a name.

    It is only visible in the arguments: as a path, an empty name is the current folder.

    Raises:
        UsageError: names the flag.
    """
    given, *_ = ctx.command.make_parser(ctx).parse_args(list(arguments))
    options_class = options_of(path_of(ctx))
    types = hints(options_class)
    for field in dataclasses.fields(options_class):
        value = given.get(field.name)
        values = value if isinstance(value, list | tuple) else (value,)
        if "" in values and never_empty(field, types[field.name]):
            name, *_ = name_text(field, description(types[field.name])).split(", ")
            which = "" if isinstance(value, str) else "one of "
            raise UsageError(f"{which}{name} is empty", code="usage.empty", hint=EMPTY_HINT)


class _Group(_Page, typer.core.TyperGroup):
    """A task, or cvkit itself."""

    def resolve_command(
        self, ctx: "Context", args: list[str]
    ) -> "tuple[str | None, ClickCommand | None, list[str]]":
        """Return the command that the first word names.

        Raises:
            UsageError: there is no such command; the hint gives a likely one.
        """
        known = self.get_command(ctx, args[0]) is not None
        if known or args[0].startswith("-") or ctx.resilient_parsing:  # a completion request
            return super().resolve_command(ctx, args)
        message, hint = unknown_command(path_of(ctx), args)
        raise UsageError(message, code="usage", hint=hint)


def build_app(only: tuple[str, ...] = ()) -> typer.Typer:
    """Return the Typer application of `OPTIONS`, or of one command, which is ten times as fast.

    Args:
        only: task and verb of the command, or its name; empty: all.
    """
    context = {"help_option_names": list(HELP_FLAGS)}  # commands inherit it from their group
    settings: dict[str, Any] = {
        "cls": _Group,
        "rich_markup_mode": None,
        "context_settings": context,
    }
    app = typer.Typer(name="cvkit", add_completion=False, **settings)
    app.callback()(_root)
    for name, entry in OPTIONS.items():
        if only and name != only[0]:
            continue
        if isinstance(entry, dict):
            group = typer.Typer(**settings)
            for verb, options_class in entry.items():
                if only and verb != only[1]:
                    continue
                _add(group, (name, verb), options_class)
            app.add_typer(group, name=name, short_help=short_help((name,)))
        else:
            _add(app, (name,), entry)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"cvkit {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True),
) -> None:
    """Do nothing; the commands do the work."""


def _add(app: typer.Typer, path: tuple[str, ...], options_class: type[Command]) -> None:
    command = app.command(path[-1], cls=_Command, short_help=short_help(path))
    command(_adapter(path, options_class))


def _adapter(path: tuple[str, ...], options_class: type[Command]) -> Callable[..., None]:
    """Return a function with the fields of the options as its signature, as Typer needs it."""

    def run(ctx: typer.Context, **values: Any) -> None:
        given = {}
        for param in ctx.command.params:
            source = ctx.get_parameter_source(param.name)
            if param.name in values and source and source.name != "DEFAULT":
                by_variable = source.name == "ENVIRONMENT"
                given[param.name] = variable_of(param) if by_variable else param.opts[0]
        options = assemble(options_class, values, given)
        wanted = ctx.ensure_object(dict)
        wanted |= {name: getattr(options, name) for name in wanted}
        task = path[:1] if path[0] in TASKS else ()
        try:
            if not options.quiet and speaks():
                for line in misnamed_variables(path, os.environ):
                    print(f"warning: {printable(line)}", file=sys.stderr)
            handler: Any = resolve(HANDLERS[path[-1]])
            code = handler(options, *task)
        except KeyboardInterrupt as error:  # Typer would leave without a message
            raise _interrupted(error) from error
        except BrokenPipeError as error:  # Typer would leave with exit code 1
            if _reader_left():
                raise _ReaderLeft from error
            raise MachineError(
                "another process ended unexpectedly", code="machine.worker", hint="try --workers 0"
            ) from error
        raise typer.Exit(code)

    types = hints(options_class)
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(_parameter(path, f, types[f.name]) for f in in_panel_order(options_class)),
    ]
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _parameter(
    path: tuple[str, ...], field: "dataclasses.Field[Any]", annotation: object
) -> inspect.Parameter:
    """Return a field of the options as a parameter for Typer, with this command's variable."""
    option = description(annotation)
    if isinstance(option, typer.models.OptionInfo):
        # Verbs that inherit a field share its option: each command sets its variable in a copy.
        option = copy.copy(option)
        for_all = [FOR_ALL[field.name]] if field.name in FOR_ALL else []
        option.envvar = [variable(path, field.name), *for_all]
        option.show_envvar = False
        if field.default is False and not option.param_decls:
            option.param_decls = (f"--{field.name.replace('_', '-')}",)  # without a --no-...
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        default = inspect.Parameter.empty
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=typing.Annotated[type_of(annotation), option],
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with one of `EXIT_CODES`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    answer_signals(arguments)
    code = PIPE_CLOSED
    try:
        code = run(arguments)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except BrokenPipeError:
        _discard(1, 2)
    except OSError as error:
        _discard(1)
        failure = MachineError(
            f"cannot write to stdout: {error.strerror}",
            code="machine.stdout",
            hint="free some space, or write elsewhere",
        )
        print_failure(failure, as_json=False)
        code = failure.exit_code
    sys.exit(code)


def _discard(*streams: int) -> None:
    """Discard the rest of a stream, because the interpreter flushes it once more."""
    for number in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)


class _ReaderLeft(Exception):
    """The reader of the output has closed it."""


def _reader_left() -> bool:
    """Return whether the reader of stdout or stderr has closed it."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)  # errors only
    return bool(poll.poll(0))


def _interrupted(error: BaseException) -> Interrupted:
    """Return the error for a KeyboardInterrupt, whose argument may be the signal."""
    return Interrupted("interrupted", signal_number=(*error.args, signal.SIGINT)[0])


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print cvkit's warnings as one line, those of libraries as Python does."""
    if issubclass(category, CvkitWarning):
        print(f"warning: {printable(str(message))}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    # How to report; variables and a configuration file may change it during parsing.
    wanted = how_to_talk(arguments)
    command_line[:] = arguments
    asked = os.environ.get("_CVKIT_COMPLETE")
    if asked is None and (page := _requested_page(arguments)) is not None:
        print(page, end="")
        return 0
    try:
        if asked is not None:
            from cvkit.completion import shells

            print(shells.answer(asked, arguments), end="")
            return 0
        if arguments[:1] in (["--install-completion"], ["--show-completion"]):
            from cvkit.completion import install

            print(install.run(arguments[0], arguments[1:]), end="")
            return 0
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app = build_app(_named_command(arguments))
            code = app(arguments, prog_name="cvkit", standalone_mode=False, obj=wanted)
        return code if isinstance(code, int) else 0
    except CvkitError as error:
        failure: CvkitError = error
    except ClickException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "cvkit")
        message = " ".join(error.format_message().split())
        failure = UsageError(message, code="usage", hint=f"{command} --help")
    except (KeyboardInterrupt, typer.Abort) as error:
        failure = _interrupted(error)
    except _ReaderLeft:
        return PIPE_CLOSED
    except Exception as error:
        failure = as_cvkit_error(error)
    return _report(failure, wanted)


def _named_command(arguments: list[str]) -> tuple[str, ...]:
    """Return the path of the command that the arguments begin with; empty if there is none."""
    entry = OPTIONS.get(arguments[0]) if arguments else None
    if not isinstance(entry, dict):
        return () if entry is None else (arguments[0],)
    return tuple(arguments[:2]) if arguments[1:] and arguments[1] in entry else ()


def _requested_page(arguments: list[str]) -> str | None:
    """Return the page of `[TASK [VERB]] --help` (or -h), or of a group without a command.

    It is fast, because it needs no command tree.
    """
    asked = arguments[-1:] != [] and arguments[-1] in HELP_FLAGS
    path = tuple(arguments[:-1] if asked else arguments)
    entry: object = OPTIONS
    for name in path:
        entry = entry.get(name) if isinstance(entry, dict) else None
    return render(path) if isinstance(entry, dict) or (asked and entry is not None) else None


def _report(failure: CvkitError, wanted: dict[str, bool]) -> int:
    if not speaks():
        return failure.exit_code
    if wanted["debug"]:
        import traceback

        for line in "".join(traceback.format_exception(failure)).splitlines():
            print(printable(line), file=sys.stderr)
    print_failure(failure, wanted["json"])
    return failure.exit_code
