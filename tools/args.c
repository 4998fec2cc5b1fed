#include "tools/args.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/numeric.h"
#include "core/base/suggest.h"

enum { MAX_ARGS = 32, HELP_VALUE = 256, HELP_WIDTH = 118 };

/* ---- values */

static Status take_number(const Arg *arg, const char *text, int64_t *value, Error *error)
{
    char *end;
    long long number = strtoll(text, &end, 10); /* beyond its range: the range's end, which is refused */
    if (end == text || *end || number < arg->least || number > arg->most)
        return error_set(error, STATUS_USAGE, "--%s %s: a whole number from %" PRId64 " to %" PRId64 " is wanted",
                         arg->name, text, arg->least, arg->most);
    *value = number;
    return STATUS_OK;
}

static Status take_size(const Arg *arg, const char *text, int64_t *value, Error *error)
{
    static const char UNITS[] = "kMG";
    char *end;
    double number = strtod(text, &end);
    const char *unit = *end ? strchr(UNITS, *end) : NULL;
    if (unit) {
        number *= (double)(INT64_C(1) << 10 * (unit - UNITS + 1));
        end++;
    }
    if (end == text || *end || !(number >= (double)arg->least && number <= (double)arg->most))
        return error_set(error, STATUS_USAGE, "--%s %s: a number from %" PRId64 " to %" PRId64 " is wanted", arg->name,
                         text, arg->least, arg->most);
    *value = (int64_t)number;
    return STATUS_OK;
}

static Status take_choice(const Arg *arg, const char *text, int *value, Error *error)
{
    char names[HELP_VALUE] = "";
    for (int i = 0; arg->choices[i]; i++) {
        size_t used = strlen(names);
        if (strcmp(text, arg->choices[i]) == 0) {
            *value = i;
            return STATUS_OK;
        }
        snprintf(names + used, sizeof names - used, "%s%s",
                 i == 0                ? ""
                 : arg->choices[i + 1] ? ", "
                                       : " or ",
                 arg->choices[i]);
    }
    return error_set(error, STATUS_USAGE, "--%s %s: %s is wanted", arg->name, text, names);
}

static Status take(const Arg *arg, const char *text, Error *error)
{
    int64_t number = 0;
    Status status = STATUS_OK;
    switch (arg->kind) {
    case ARG_KIND_FLAG:
        *(bool *)arg->target = true;
        break;
    case ARG_KIND_TEXT:
        *(const char **)arg->target = text;
        break;
    case ARG_KIND_INT:
        status = take_number(arg, text, &number, error);
        if (!status) *(int *)arg->target = (int)number;
        break;
    case ARG_KIND_NUMBER:
        status = take_number(arg, text, arg->target, error);
        break;
    case ARG_KIND_SIZE:
        status = take_size(arg, text, arg->target, error);
        break;
    case ARG_KIND_CHOICE:
        status = take_choice(arg, text, arg->target, error);
        break;
    case ARG_KIND_CONFIG:
        ((Settings *)arg->target)->config = text;
        break;
    case ARG_KIND_SET:
        status = settings_set(arg->target, text, error);
        break;
    case ARG_KIND_MODEL:
        status = settings_model(arg->target, text, error);
        break;
    }
    return status;
}

/* ---- help */

/* One line of help for each option, broken so that what follows stays in its column. */
static void print_arg(FILE *out, const Arg *arg, int column)
{
    int at = fprintf(out, "  --%s%s%s", arg->name, arg->value ? " " : "", arg->value ? arg->value : "");
    for (const char *word = arg->help; *word;) {
        int length = (int)strcspn(word, " ");
        if (at > column && at + 1 + length > HELP_WIDTH) {
            fputc('\n', out);
            at = 0;
        }
        at += fprintf(out, "%*s%.*s", at < column ? column - at : 1, "", length, word);
        word += length;
        word += strspn(word, " ");
    }
    fputc('\n', out);
}

static void print_help(FILE *out, const CommandLine *line)
{
    int column = 0;
    for (const Arg *arg = line->args; arg->name; arg++) {
        int width = (int)(strlen(arg->name) + (arg->value ? strlen(arg->value) + 1 : 0));
        column = max_int(column, width + 6); /* two blanks, two dashes, two blanks */
    }
    fputs(line->usage, out);
    for (const Arg *arg = line->args; arg->name; arg++) print_arg(out, arg, column);
    if (line->notes) fputs(line->notes, out);
    if (line->more_help) line->more_help(out);
}

/* ---- parsing */

static const char *arg_name(const void *context, int index)
{
    return ((const Arg *)context)[index].name;
}

static Status refuse_option(const CommandLine *line, const char *option, Error *error)
{
    char name[64];
    const char *text = option + strspn(option, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
    for (const Arg *arg = line->args; arg->name; arg++)
        if (!arg->value && strcmp(arg->name, name) == 0)
            return error_set(error, STATUS_USAGE, "--%s takes no value; see `%s --help`", name, line->name);
    const char *near = suggest_name(name, arg_name, line->args);
    return error_set(error, STATUS_USAGE, "there is no option '%s'%s%s%s; see `%s --help`", option,
                     near ? ", did you mean --" : "", near ? near : "", near ? "?" : "", line->name);
}

Status args_parse(const CommandLine *line, int argc, char **argv, Operands *operands, Error *error)
{
    struct option options[MAX_ARGS + 2] = {0};
    int count = 0;
    for (; line->args[count].name; count++)
        options[count] = (struct option){line->args[count].name, line->args[count].value != NULL, NULL, 1 + count};
    options[count] = (struct option){"help", no_argument, NULL, 1 + count};
    *operands = (Operands){0};
    optind = 0; /* GNU's way to begin anew */
    for (int option; (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        if (option == '?') return refuse_option(line, argv[optind - 1], error);
        if (option == ':') {
            const Arg *arg = &line->args[optopt - 1];
            return error_set(error, STATUS_USAGE, "--%s %s: the value is missing; see `%s --help`", arg->name,
                             arg->value, line->name);
        }
        if (option == 1 + count || option == 'h') {
            print_help(stdout, line);
            operands->helped = true;
            return STATUS_OK;
        }
        Status status = take(&line->args[option - 1], optarg, error);
        if (status) return status;
    }
    operands->items = argv + optind;
    operands->count = argc - optind;
    if (line->most_operands >= 0 && operands->count > line->most_operands)
        return error_set(error, STATUS_USAGE, "'%s' is not expected; see `%s --help`",
                         operands->items[line->most_operands], line->name);
    return STATUS_OK;
}
