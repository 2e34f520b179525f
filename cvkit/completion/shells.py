"""The completion protocol of bash, zsh and fish.

A shell calls cvkit with `_CVKIT_COMPLETE=complete_SHELL` and gets a line that says which paths to
add, then one line per word. `_CVKIT_COMPLETE=source_SHELL` prints the script that sets this up.
"""

import re
from collections.abc import Callable

from cvkit.completion.values import Choices
from cvkit.completion.words import complete
from cvkit.errors import UsageError

VARIABLE = "_CVKIT_COMPLETE"
"""Environment variable with the shell's request."""

_BASH = r"""_cvkit_completion() {
    local lines=() option
    mapfile -t lines < <(_CVKIT_COMPLETE=complete_bash "${1/#\~/$HOME}" \
        "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    for option in ${lines[0]}; do
        compopt -o "$option"
    done
    COMPREPLY=("${lines[@]:1}")
}
complete -F _cvkit_completion cvkit
"""
_ZSH = r"""#compdef cvkit
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_cvkit() {
    local -a lines open closed
    local line
    lines=("${(@f)$(_CVKIT_COMPLETE=complete_zsh ${~words[1]} \
        "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    for line in "${(@)lines[2,-1]}"; do
        [[ ${line%%$'\t'*} == *[=/] ]] && open+=("$line") || closed+=("$line")
    done
    open=("${(@)${(@)open//:/\\:}/$'\t'/:}")
    closed=("${(@)${(@)closed//:/\\:}/$'\t'/:}")
    (( $#closed )) && _describe -V 'value' closed
    (( $#open )) && _describe -V 'value' open -S ''
    case $lines[1] in
        files) _files ;;
        folders) _files -/ ;;
    esac
}
compdef _cvkit cvkit
"""
_FISH = r"""function __cvkit_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l lines (env _CVKIT_COMPLETE=complete_fish $words[1] $words[2..] \
        (string unescape -- $token; or string trim -lc '"\'' -- $token) 2>/dev/null)
    set -l before (string match -r -- '^--[^=]*=' $token)
    set -l path (string replace -r -- '^--[^=]*=' '' $token)
    set -l wanted
    switch "$lines[1]"
        case files
            set wanted '.+'
        case folders
            # After a colon, as in imagenet:resnet50, fish would start a new word.
            string match -q -- '*:*' $path; or set wanted '.+/$'
    end
    # After a command that it does not know, fish completes paths.
    test -n "$wanted"; and complete -C"__cvkit_unknown $path" | string match -r -- $wanted |
        string replace -r -- '^' "$before"
    printf '%s\n' $lines[2..]
end
complete --command cvkit --no-files --arguments '(__cvkit_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""The completion scripts."""


def answer(request: str, arguments: list[str]) -> str:
    """Return the answer to a shell's request.

    Args:
        request: value of `_CVKIT_COMPLETE`, such as `complete_bash` or `source_zsh`.
        arguments: bash: the line up to the cursor, and the characters that begin a new word;
            zsh and fish: the words after `cvkit`, of which the last one is being typed.

    Raises:
        UsageError: an unknown request.
    """
    kind, _, shell = request.partition("_")
    if shell in SCRIPTS and kind == "source":
        return script(shell)
    if shell not in SCRIPTS or kind != "complete" or not arguments:
        raise UsageError(
            f"{VARIABLE}={request} is unknown",
            code="completion.request",
            hint=f"known: source_{', source_'.join(SCRIPTS)}",
        )
    return "".join(f"{line}\n" for line in _ANSWERS[shell](arguments))


def script(shell: str) -> str:
    """Return the script of a shell.

    Raises:
        UsageError: there is none for it.
    """
    if shell not in SCRIPTS:
        raise UsageError(
            f"there is no completion for {shell}",
            code="completion.shell",
            hint=f"supported: {', '.join(SCRIPTS)}",
        )
    return SCRIPTS[shell]


def _zsh_lines(arguments: list[str]) -> list[str]:
    found = complete(arguments[:-1], arguments[-1])
    return [found.paths, *_described(found)]


def _fish_lines(arguments: list[str]) -> list[str]:
    found = complete(arguments[:-1], arguments[-1])
    return [found.paths, *(found.prefix + line for line in _described(found))]


def _described(found: Choices) -> list[str]:
    words = {word: about for word, about in found.words.items() if word.isprintable()}
    return [f"{word}\t{about}" if about else word for word, about in words.items()]


def _bash_lines(arguments: list[str]) -> list[str]:
    line, breaks = arguments[0], "".join(arguments[1:2])
    words, cut, quote = split_line(line, breaks)
    if not words:
        return [""]
    found = complete(words[1:-1], words[-1])
    texts = [found.prefix + word for word in found.words if word.isprintable()]
    options = {"files": ["default"], "folders": ["plusdirs"]}.get(found.paths, [])
    if cut != len(
        found.prefix
    ):  # after a colon, for example, bash would complete folders from scratch
        options = []
    if "plusdirs" not in options:  # otherwise bash quotes words like folders
        texts = [text[:cut] + _quoted(text[cut:], quote) for text in texts]
    if len(texts) == 1 and texts[0].endswith(("=", "/")):
        options.append("nospace")
    return [" ".join(options), *(text[cut:] for text in texts)]


def split_line(line: str, breaks: str) -> tuple[list[str], int, str]:
    """Return the words of a bash command line, where bash starts the last one, and its quote.

    Args:
        line: up to the cursor.
        breaks: `COMP_WORDBREAKS`; after one of these, or an open quote, bash starts a new word.

    Returns:
        The words without quotes, of which the last one (maybe empty) is being typed; how many of
        its characters bash keeps; and the open quote, or "".
    """
    words: list[str] = []
    word: str | None = None
    cut, quote, escaped = 0, "", False
    for character in line:
        if escaped:
            word, escaped = (word or "") + character, False
        elif character == "\\" and quote != "'":
            escaped, word = True, word or ""
        elif quote:
            word, quote = (word, "") if character == quote else (f"{word}{character}", quote)
        elif character in "\"'":
            word, quote = word or "", character
            cut = len(word)
        elif character.isspace():
            words += [] if word is None else [word]
            word, cut = None, 0
        else:
            word = (word or "") + character
            cut = len(word) if character in breaks else cut
    return [*words, word or ""], cut, quote


def _quoted(text: str, quote: str) -> str:
    """Return a word as it must be typed after an open quote, or without one."""
    if quote == "'":
        return text.replace("'", "'\\''")
    special = r'(["$`\\])' if quote else r"([^\w@%+=:,./~^-])"
    return re.sub(special, r"\\\1", text)


_ANSWERS: dict[str, Callable[[list[str]], list[str]]] = {
    "bash": _bash_lines,
    "zsh": _zsh_lines,
    "fish": _fish_lines,
}
