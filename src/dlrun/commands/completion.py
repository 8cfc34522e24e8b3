"""`dlrun completion`: the script that teaches a shell to complete dlrun's command line.

The scripts only pass the words up to the cursor on to the hidden `dlrun _complete`.
"""

from __future__ import annotations

import argparse

from dlrun.commands._arguments import CommandParser

BASH = r"""# Tab completion of dlrun for bash.
#   in this shell:       source <(dlrun completion bash)
#   in every new shell:  echo 'source <(dlrun completion bash)' >> ~/.bashrc

_dlrun() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} words current head candidate
    read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[${#words[@]} - 1]}
    # Readline replaces only what follows the last of these characters, and = is one of them.
    head=${current%"${current##*[$COMP_WORDBREAKS]}"}
    COMPREPLY=()
    while IFS= read -r candidate; do
        candidate=${candidate%%$'\t'*}
        candidate=${candidate#"$head"}
        [[ $candidate == *[!A-Za-z0-9_./=,:@%+~-]* ]] && printf -v candidate %q "$candidate"
        COMPREPLY+=("$candidate")
    done < <("${words[0]/#\~/$HOME}" _complete "${words[@]:1}" 2>/dev/null)
    # More is to come after these, so no space.
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=./] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o bashdefault -o default -F _dlrun dlrun
"""

ZSH = r"""#compdef dlrun
# Tab completion of dlrun for zsh.
#   in this shell:       source <(dlrun completion zsh)
#   in every new shell:  echo 'source <(dlrun completion zsh)' >> ~/.zshrc
#   (where ~/.zshrc calls compinit, after that; or as a file _dlrun in a folder of $fpath)

_dlrun() {
    local line
    local -a before described unfinished finished
    before=("${(@Q)words[2,CURRENT-1]}")
    for line in "${(@f)$(${~words[1]} _complete "${before[@]}" "$PREFIX" 2>/dev/null)}"; do
        case $line in
            '') ;;
            *$'\t'*) described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            *[=./]) unfinished+=("$line") ;;  # more is to come after these, so no space
            *) finished+=("$line") ;;
        esac
    done
    (( $#described )) && _describe 'dlrun' described
    (( $#unfinished )) && compadd -S '' -a unfinished
    (( $#finished )) && compadd -a finished
    (( $#described + $#unfinished + $#finished )) || _files
}

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
if [[ ${funcstack[1]} == _dlrun ]]; then _dlrun "$@"; else compdef _dlrun dlrun; fi
"""

FISH = r"""# Tab completion of dlrun for fish.
#   in this shell:       dlrun completion fish | source
#   in every new shell:  dlrun completion fish > ~/.config/fish/completions/dlrun.fish

function __dlrun_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($words[1] _complete $words[2..] "$current" 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end

complete -c dlrun -f -a '(__dlrun_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
_EPILOG = """\
in every new shell
  bash   echo 'source <(dlrun completion bash)' >> ~/.bashrc
  zsh    echo 'source <(dlrun completion zsh)' >> ~/.zshrc
  fish   dlrun completion fish > ~/.config/fish/completions/dlrun.fish
"""


def main(argv: list[str]) -> int:
    """Print the script of the shell asked for."""
    print(SCRIPTS[_parser().parse_args(argv).shell], end="")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "completion", "Print the script that makes a shell complete dlrun's command line.", _EPILOG
    )
    parser.add_argument("shell", choices=list(SCRIPTS), help="the shell to print it for")
    return parser
