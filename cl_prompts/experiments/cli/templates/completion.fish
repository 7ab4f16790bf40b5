# Completion of cl-prompts {{ version }} in fish; made by: cl-prompts completion fish
function __cl_prompts_found
    set -l before (commandline -opc)
    sh -c '
{{ core }}
_cl_prompts_words "$@"' sh (commandline -ct) $before[2..-1] | string split --no-empty " "
end
complete -c cl-prompts -a '(__cl_prompts_found)'
