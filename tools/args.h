/* args.h: a command's options as one table: they are parsed by it, and `--help` is printed from it.
 *
 *     const Arg args[] = {
 *         ARG_TEXT("data", "DIR", &arguments->data, "a converted data set"),
 *         ARG_INT("batch", "N", &arguments->batch, "images at a time on each rank (64)", 1, 65536),
 *         ARG_FLAG("json", &arguments->json, "one line of JSON"),
 *         {0},
 *     };
 *     const CommandLine line = {.name = "t2t eval", .usage = USAGE, .args = args};
 *     Operands operands;
 *     Status status = args_parse(&line, argc, argv, &operands, error);
 *     if (status || operands.helped) return status;
 *
 * Targets keep their value where an option is not given. Options may stand before and behind operands, and a unique
 * beginning of a name is enough, as with getopt_long. What is wrong is STATUS_USAGE and names the nearest option.
 */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

#include <stdbool.h>
#include "tools/settings.h"

typedef enum ArgKind {
    ARG_KIND_FLAG,
    ARG_KIND_TEXT,
    ARG_KIND_INT,
    ARG_KIND_NUMBER,
    ARG_KIND_SIZE,
    ARG_KIND_CHOICE,
    ARG_KIND_CONFIG,
    ARG_KIND_SET,
    ARG_KIND_MODEL,
} ArgKind;

typedef struct Arg {
    const char *name;  /* without the dashes */
    const char *value; /* what the help calls its value; NULL: a flag */
    ArgKind kind;
    void *target;
    const char *help; /* broken into lines at its blanks */
    int64_t least, most;
    const char *const *choices; /* ends with NULL */
} Arg;

/* clang-format off */
#define ARG_ROW(n, v, k, t, h, ...) \
    {.name = (n), .value = (v), .kind = ARG_KIND_##k, .target = (t), .help = (h), __VA_ARGS__}
#define ARG_RANGE(a, b) .least = (a), .most = (b)

/* n is the name, v what the help calls the value, t the target, h the help, a and b the range, c the choices. Targets
 * in this order: a bool; a const char *, which then points into argv; an int or int64_t in the range; an int64_t whose text
 * may have a fraction and end with k, M or G; an enum, set to the place of the text among the names; Settings. */
#define ARG_FLAG(n, t, h)                    ARG_ROW(n, NULL, FLAG, t, h, ARG_RANGE(0, 0))
#define ARG_TEXT(n, v, t, h)                 ARG_ROW(n, v, TEXT, t, h, ARG_RANGE(0, 0))
#define ARG_INT(n, v, t, h, a, b)            ARG_ROW(n, v, INT, t, h, ARG_RANGE(a, b))
#define ARG_NUMBER(n, v, t, h, a, b)         ARG_ROW(n, v, NUMBER, t, h, ARG_RANGE(a, b))
#define ARG_SIZE(n, v, t, h, a, b)           ARG_ROW(n, v, SIZE, t, h, ARG_RANGE(a, b))
#define ARG_CHOICE(n, v, t, h, c)            ARG_ROW(n, v, CHOICE, t, h, .choices = (c))
#define ARG_CONFIG(t, h)                     ARG_ROW("config", "FILE", CONFIG, t, h, ARG_RANGE(0, 0))
#define ARG_SET(t, h)                        ARG_ROW("set", "key=value", SET, t, h, ARG_RANGE(0, 0))
#define ARG_MODEL(t, h)                      ARG_ROW("model", "NAME", MODEL, t, h, ARG_RANGE(0, 0))
/* clang-format on */

typedef struct CommandLine {
    const char *name;             /* "t2t eval" */
    const char *usage;            /* what the help prints before the options */
    const char *notes;            /* and behind them; may be NULL */
    const Arg *args;              /* ends with a zeroed one; --help and -h are added */
    int most_operands;            /* what is beyond is refused; -1: any number */
    void (*more_help)(FILE *out); /* the end of the help; may be NULL */
} CommandLine;

typedef struct Operands { /* what is no option; points into argv */
    char **items;
    int count;
    bool helped; /* --help was given and is answered: the command has nothing more to do */
} Operands;

Status args_parse(const CommandLine *line, int argc, char **argv, Operands *operands, Error *error);

#endif
