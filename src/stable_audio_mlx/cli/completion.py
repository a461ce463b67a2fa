"""``stable-audio-mlx completion bash|zsh|fish``: a script for the shell, made from the parsers of all commands.

The script is static: pressing Tab starts no Python.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .common import Parser, run

NAME = "stable-audio-mlx"
DESCRIPTION = "A script that completes commands, options and their values in a shell."
EPILOG = """\
bash:  stable-audio-mlx completion bash > ~/.local/share/bash-completion/completions/stable-audio-mlx
zsh:   stable-audio-mlx completion zsh > DIR/_stable-audio-mlx, where DIR is one of $fpath
fish:  stable-audio-mlx completion fish > ~/.config/fish/completions/stable-audio-mlx.fish"""


@dataclass(frozen=True)
class Value:
    """What may follow an option: one of ``words``, or a "file" or "folder"; nothing that can be guessed if neither."""

    words: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True)
class Flag:
    """An option by all its names, or an argument by none; ``value`` is None where nothing follows."""

    names: tuple[str, ...]
    help: str
    value: Value | None
    repeats: bool
    label: str
    count: int = 1  # of values


@dataclass(frozen=True)
class Command:
    """A command by the words that choose it, what it is for, and what can be said after it."""

    path: tuple[str, ...]
    help: str
    flags: tuple[Flag, ...]

    @property
    def argument(self) -> Value:
        """What stands for itself."""
        return next((flag.value for flag in self.flags if not flag.names and flag.value), Value())

    @property
    def options(self) -> list[Flag]:
        return [flag for flag in self.flags if flag.names]


def parser() -> argparse.ArgumentParser:
    p = Parser(f"{NAME} completion", description=DESCRIPTION, epilog=EPILOG)
    p.formatter_class = argparse.RawDescriptionHelpFormatter
    p.add_argument("shell", choices=tuple(SCRIPTS))
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: print(SCRIPTS[arguments.shell](list(commands()))))


def commands() -> Iterator[Command]:
    """Every command and, after it, its own."""
    from .main import COMMANDS

    for name, text in COMMANDS.items():
        module = import_module(f".{name.replace('-', '_')}", __package__)
        yield from walk((name,), text, module.parser())


def walk(path: tuple[str, ...], text: str, p: argparse.ArgumentParser) -> Iterator[Command]:
    inner = [action for action in p._actions if isinstance(action, argparse._SubParsersAction)]
    plain = [action for action in p._actions if action not in inner and action.help != argparse.SUPPRESS]
    yield Command(path, text, tuple(map(flag, plain)))
    for action in inner:
        helps = {one.dest: one.help or "" for one in action._choices_actions}
        for name, child in action.choices.items():
            yield from walk((*path, name), helps.get(name, ""), child)


def flag(action: argparse.Action) -> Flag:
    text = (action.help or "") % {**vars(action), "prog": NAME}
    value = None if action.nargs in (0, "?") and action.option_strings else value_of(action)
    repeats = action.nargs in ("+", "*") or type(action).__name__ in ("_AppendAction", "_ExtendAction")
    label = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    count = action.nargs if isinstance(action.nargs, int) else 1
    return Flag(tuple(action.option_strings), text, value, repeats, label, count)


def value_of(action: argparse.Action) -> Value:
    """What the choices, the name or the type of an action say about its value."""
    if action.choices is not None:
        return Value(tuple(map(str, action.choices)))
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if action.dest == "sampler":
        from ..sampling.samplers import SAMPLERS

        return Value(tuple(dict.fromkeys(name for names in SAMPLERS.values() for name in names)))
    if action.dest in ("model", "source", "base") or metavar in ("MODEL", "SOURCE"):
        from ..weights import hub, registry

        return Value((hub.EMBEDDED, *registry.KNOWN), "folder")
    if "FILE" in metavar:
        return Value(path="file")
    return Value(path="folder" if "DIR" in metavar else "file" if action.type is Path else "")


# bash


def bash(found: list[Command]) -> str:
    top = [one for one in found if len(one.path) == 1]
    nested = " ".join(":".join(one.path) for one in found if len(one.path) > 1)
    cases = "\n".join(bash_cases(found))
    return f"""\
# Completion of {NAME} for bash; made by {NAME} completion bash.
_stable_audio_mlx() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} at=${{COMP_WORDS[1]}} words= path=
    COMPREPLY=()
    ((COMP_CWORD > 2)) && [[ " {nested} " == *" $at:${{COMP_WORDS[2]}} "* ]] && at=$at:${{COMP_WORDS[2]}}
    if ((COMP_CWORD == 1)); then
        words="{" ".join(one.path[0] for one in top)} --help --version"
    else
        case "$at $prev" in
{cases}
        esac
    fi
    [[ $words ]] && COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ $path ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\\n'
        COMPREPLY+=($(compgen "$path" -- "$cur"))
    fi
}}
complete -F _stable_audio_mlx {NAME}"""


def bash_cases(found: list[Command]) -> Iterator[str]:
    """What follows an option, then what else a command takes."""
    for one in found:
        at = ":".join(one.path)
        for option in one.options:
            if option.value is not None:
                names = "|".join(f'"{at} {name}"' for name in option.names)
                yield f"            {names}) {bash_value(option.value)} ;;"
    for one in found:
        at = ":".join(one.path)
        inner = [other.path[-1] for other in found if other.path[:-1] == one.path]
        options = " ".join(name for option in one.options for name in option.names)
        free = bash_value(Value((*one.argument.words, *inner), one.argument.path))
        yield f'            "{at} "*) if [[ $cur == -* ]]; then words="{options}"; else {free}; fi ;;'


def bash_value(value: Value) -> str:
    said = f'words="{" ".join(value.words)}"' if value.words else ""
    path = {"file": "path=-f", "folder": "path=-d"}.get(value.path, "")
    return " ".join(filter(None, (said, path))) or ":"


# zsh

ZSH = "_stable_audio_mlx_"  # a command's function is this and its words


def zsh(found: list[Command]) -> str:
    functions = "\n\n".join(zsh_function(one, [o for o in found if o.path[:-1] == one.path]) for one in found)
    top = [one for one in found if len(one.path) == 1]
    return f"""\
#compdef {NAME}
# Completion of {NAME} for zsh; made by {NAME} completion zsh.

{functions}

{zsh_chooser("_" + NAME, ZSH, top, "'--help[what there is]' '--version[which version this is]'")}

if [[ $funcstack[1] == _{NAME} ]]; then
    _{NAME} "$@"
else
    compdef _{NAME} {NAME}
fi"""


def zsh_function(one: Command, inner: list[Command]) -> str:
    name = ZSH + "_".join(one.path).replace("-", "_")
    specs = [spec for flag in one.flags for spec in zsh_specs(flag)]
    if inner:
        return zsh_chooser(name, f"{name}_", inner, " ".join(specs))
    return f"{name}() {{\n    _arguments \\\n        " + " \\\n        ".join(specs) + "\n}"


def zsh_chooser(name: str, prefix: str, inner: list[Command], options: str) -> str:
    """A function that offers commands first, then hands over to the one chosen."""
    call = f"{prefix}${{words[1]//-/_}}"
    described = "\n            ".join(zsh_quote(f"{one.path[-1]}:{one.help}") for one in inner)
    return f"""\
{name}() {{
    local curcontext=$curcontext state line
    _arguments -C {options} '1: :->command' '*:: :->rest'
    if [[ $state == command ]]; then
        local -a commands=(
            {described}
        )
        _describe command commands
    elif [[ $state == rest ]]; then
        (( $+functions[{call}] )) && {call}
    fi
}}"""


def zsh_specs(flag: Flag) -> Iterator[str]:
    """An option as _arguments wants it: others of its names excluded, unless it may be repeated."""
    value = "" if flag.value is None else flag.count * f":{zsh_text(flag.label)}:{zsh_value(flag.value)}"
    if not flag.names:
        yield zsh_quote(("*" if flag.repeats else "") + value.replace(":", "::", 1 if not flag.repeats else 0))
        return
    before = "*" if flag.repeats else f"({' '.join(flag.names)})"
    for name in flag.names:
        yield zsh_quote(f"{before}{name}[{zsh_text(flag.help)}]{value}")


def zsh_value(value: Value) -> str:
    path = {"file": "_files", "folder": "_files -/"}.get(value.path, "")
    if value.words and path:
        return f"{{compadd -- {' '.join(value.words)}; {path}}}"
    return f"({' '.join(value.words)})" if value.words else path or " "


def zsh_text(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\[]:" else c for c in text)


def zsh_quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish


def fish(found: list[Command]) -> str:
    lines = list(fish_lines(found))
    return f"""\
# Completion of {NAME} for fish; made by {NAME} completion fish.
function __stable_audio_mlx_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l wanted (count $argv)
    test $wanted -eq 0; and return 0
    test (count $words) -ge $wanted; and test "$words[1..$wanted]" = "$argv"
end
function __stable_audio_mlx_first
    __stable_audio_mlx_at $argv; and test (count (commandline -opc)) -eq (math 1 + (count $argv))
end
complete -c {NAME} -f
complete -c {NAME} -n __stable_audio_mlx_first -l help -d 'what there is'
complete -c {NAME} -n __stable_audio_mlx_first -l version -d 'which version this is'
{chr(10).join(lines)}"""


def fish_lines(found: list[Command]) -> Iterator[str]:
    for one in found:
        parent = " ".join(("__stable_audio_mlx_first", *one.path[:-1]))
        yield f"complete -c {NAME} -n {fish_quote(parent)} -a {one.path[-1]} -d {fish_quote(one.help)}"
        at = fish_quote(" ".join(("__stable_audio_mlx_at", *one.path)))
        for option in one.options:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            value = "" if option.value is None else f" {fish_value(option.value)}"
            yield f"complete -c {NAME} -n {at} {names}{value} -d {fish_quote(option.help)}"
        if one.argument != Value():
            yield f"complete -c {NAME} -n {at} {fish_value(one.argument, '')}"


def fish_value(value: Value, required: str = "-x ") -> str:
    words = [*value.words, *(["(__fish_complete_directories)"] if value.path == "folder" else [])]
    if value.path == "file":
        return f"{'-r ' if required else ''}-F" + (f" -a {fish_quote(' '.join(words))}" if words else "")
    return f"{required}-a {fish_quote(' '.join(words))}" if words else required.strip()


def fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: dict[str, Callable[[list[Command]], Any]] = {"bash": bash, "zsh": zsh, "fish": fish}
