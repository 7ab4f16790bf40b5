# Completion of cl-prompts {{ version }} in bash; made by: cl-prompts completion bash
{{ core }}

_cl_prompts() {
    local line="${COMP_LINE:0:COMP_POINT}" last="${COMP_WORDS[COMP_CWORD]}" word="" cut="" found=""
    local -a words
    read -ra words <<< "$line"
    case "$line" in
        *[[:space:]]) ;;
        *) word="${words[-1]}"; unset "words[-1]" ;;
    esac
    found="$(_cl_prompts_words "$word" "${words[@]:1}")"
    COMPREPLY=($(compgen -W "$found" -- "$word"))
    # Readline takes what follows the last = for the word.
    [ "$last" = "=" ] && last=""
    cut="${word%"$last"}"
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    case "${COMPREPLY[0]}" in *=) compopt -o nospace 2> /dev/null ;; esac
}
complete -o default -o bashdefault -F _cl_prompts cl-prompts
