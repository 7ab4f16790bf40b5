_cl_prompts_words() {
    # Arguments: the word to complete, and all words before it but for cl-prompts.
    local word="$1" command="$2" previous="" recipe="" each="" prefix="" values=""
    shift
    [ $# -gt 0 ] && shift
    for each in "$@"; do
        case "$previous" in
            {{ valued }}) ;;
            *) case "$each" in -* | *=*) ;; *) recipe="$each" ;; esac ;;
        esac
        previous="$each"
    done
    case "$previous" in
{%- for option, values in option_values.items() %}
        {{ option }}) echo "{{ values }}"; return ;;
{%- endfor %}
        {{ valued }}) return ;;
    esac
    case "$word" in
        -*)
            case "$command" in
{%- for command, options in options.items() %}
                {{ command }}) echo "{{ options }}" ;;
{%- endfor %}
            esac
            return ;;
        *=*)
            prefix="${word%%=*}="
            case "$word" in *,*) prefix="${word%,*}," ;; esac
            case "${word%%=*}" in
{%- for keys, values in key_values.items() %}
                {{ keys }}) values="{{ values }}" ;;
{%- endfor %}
            esac
            for each in $values; do echo "$prefix$each"; done
            return ;;
    esac
    case "$command" in
        "") echo "{{ commands }}" ;;
        run | validate | sweep | warm-up)
            if [ -z "$recipe" ]; then
                echo "{{ recipes }}"
            else
                case "$word" in
                    *.*) echo "{{ dotted_keys }}" ;;
                    *) echo "{{ keys }}" ;;
                esac
            fi ;;
        show)
            case "$previous" in
                "") echo "{{ shown }} {{ recipes }}" ;;
                recipe) echo "{{ recipes }}" ;;
                strategy) echo "{{ strategies }}" ;;
                plugin) echo "{{ plugins }}" ;;
                scenario) echo "{{ scenarios }}" ;;
                dataset) echo "{{ datasets }}" ;;
            esac ;;
        ls) [ -z "$recipe" ] && echo "{{ lists }}" ;;
        completion) [ -z "$recipe" ] && echo "{{ shells }}" ;;
    esac
}
