# Completion of cl-prompts {{ version }} in zsh; made by: cl-prompts completion zsh
{{ core }}

_cl_prompts_found() {
    emulate -L sh
    _cl_prompts_words "$@"
}

_cl_prompts() {
    local -a found
    found=(${=$(_cl_prompts_found "$PREFIX" "${(@)words[2,CURRENT-1]}")})
    if (( ! $#found )); then
        _files
    elif [[ $found[1] == *= ]]; then
        compadd -S '' -- $found
    else
        compadd -- $found || _files
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _cl_prompts cl-prompts
