# Completion of cl-prompts {{ version }} in bash; made by: cl-prompts completion bash
{{ core }}

_cl_prompts() {
    local line="${COMP_LINE:0:COMP_POINT}" last="${COMP_WORDS[COMP_CWORD]}" word="" cut="" each=""
    local -a words found
    read -ra words <<< "$line"
    case "$line" in
        *[[:space:]]) ;;
        *) word="${words[-1]}"; unset "words[-1]" ;;
    esac
    # Not by compgen -W, which would run a command that stands in the word.
    read -r -d '' -a found <<< "$(_cl_prompts_words "$word" "${words[@]:1}")"
    # Readline takes what follows the last = for the word.
    [ "$last" = "=" ] && last=""
    cut="${word%"$last"}"
    COMPREPLY=()
    for each in "${found[@]}"; do
        [[ "$each" == "$word"* ]] && COMPREPLY+=("${each#"$cut"}")
    done
    case "${COMPREPLY[0]}" in *=) compopt -o nospace 2> /dev/null ;; esac
}
complete -o default -o bashdefault -F _cl_prompts cl-prompts
