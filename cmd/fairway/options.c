#include "cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* "--name" for messages. */
static void spell(char *ret_text, size_t size, const char *name)
{
    snprintf(ret_text, size, "--%s", name);
}

int cli_duration_parse(const char *text, uint32_t *ret_ms)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ms", 1}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};
    double total = 0;
    const char *p = text;
    if (!strcmp(text, "0")) {
        *ret_ms = 0;
        return FW_OK;
    }
    if (!*p)
        return FW_EOPTION;
    while (*p) {
        if (!isdigit((unsigned char)*p) && *p != '.')
            return FW_EOPTION;
        char *end;
        double number = strtod(p, &end);
        size_t unit = 0, count = sizeof units / sizeof *units;
        if (end == p)
            return FW_EOPTION;
        while (unit < count && strncmp(end, units[unit].name, strlen(units[unit].name)))
            unit++;
        if (unit == count)
            return FW_EOPTION;
        total += number * units[unit].ms;
        p = end + strlen(units[unit].name);
    }
    if (!(total <= UINT32_MAX))
        return FW_EOPTION;
    *ret_ms = (uint32_t)total;
    return FW_OK;
}

static int parse_uint(const char *text, uint32_t *ret_number)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return FW_EOPTION;
    unsigned long long number = strtoull(text, &end, 10);
    if (*end || number > UINT32_MAX)
        return FW_EOPTION;
    *ret_number = (uint32_t)number;
    return FW_OK;
}

static int parse_flag(const char *text, bool *ret_flag)
{
    *ret_flag = !strcmp(text, "true") || !strcmp(text, "1");
    return *ret_flag || !strcmp(text, "false") || !strcmp(text, "0") ? FW_OK : FW_EOPTION;
}

static int set(const cli_option *option, const char *value)
{
    cli_list *list;
    switch (option->type) {
    case CLI_FLAG:
        return parse_flag(value, option->target);
    case CLI_TEXT:
        *(const char **)option->target = value;
        return FW_OK;
    case CLI_UINT:
        return parse_uint(value, option->target);
    case CLI_DURATION:
        return cli_duration_parse(value, option->target);
    case CLI_LIST:
        list = option->target;
        if (list->count == CLI_LIST_MAX)
            return FW_ELIMIT;
        list->items[list->count++] = value;
        return FW_OK;
    }
    return FW_EOPTION;
}

static const cli_option *find(const cli_option *options, const char *name, size_t len)
{
    for (; options->name; options++) {
        bool same = strlen(options->name) == len && !strncmp(options->name, name, len);
        bool also =
            options->also && strlen(options->also) == len && !strncmp(options->also, name, len);
        if (same || also)
            return options;
    }
    return NULL;
}

/* Prints the options but those that have a meaning of their own in `instead` (NULL: none). */
static void print_options(const cli_option *options, const cli_option *instead)
{
    for (; options->name; options++) {
        if (instead && find(instead, options->name, strlen(options->name)))
            continue;
        char left[64];
        snprintf(left, sizeof left, "--%s %s", options->name,
                 options->metavar ? options->metavar : "");
        printf("  %-24s %s\n", left, options->help);
    }
}

static void global_options(cli_context *cli, cli_option *ret_options)
{
    const cli_option options[] = {
        {"store", NULL, CLI_TEXT, &cli->store, "URL", "mem:, lmdb:/dir, etcd://host:port/prefix"},
        {"json", NULL, CLI_FLAG, &cli->json, NULL, "one JSON object a line"},
        {"timeout", NULL, CLI_DURATION, &cli->timeout_ms, "DUR", "for an answer (default 5s)"},
        {"log-level", NULL, CLI_TEXT, &cli->log_level, "LEVEL", "debug, info, warn, error, off"},
        {"log-format", NULL, CLI_TEXT, &cli->log_format, "FORMAT", "logfmt or json"},
        CLI_END,
    };
    memcpy(ret_options, options, sizeof options);
}
#define GLOBAL_OPTIONS 6

int cli_global_option_words(const char *word)
{
    cli_context none;
    cli_option globals[GLOBAL_OPTIONS];
    global_options(&none, globals);
    const char *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const cli_option *option = find(globals, name, len);
    if (!option)
        return 0;
    return option->type == CLI_FLAG || name[len] ? 1 : 2;
}

static void mark_default(const cli_option *option, bool is_default)
{
    cli_list *list = option->type == CLI_LIST ? option->target : NULL;
    if (list && list->is_default && !is_default)
        list->count = 0;
    if (list)
        list->is_default = is_default;
}

/* Sets an option from the variable of one of its spellings. */
static int from_variable(const cli_option *option, const char *spelling)
{
    char name[64] = "FAIRWAY_";
    size_t n = strlen(name);
    for (const char *p = spelling; *p && n < sizeof name - 1; p++)
        name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    name[n] = 0;
    const char *value = getenv(name);
    if (!value || !*value)
        return -1;
    if (set(option, value))
        return cli_fail(EXIT_USAGE, name, "value cannot be used");
    mark_default(option, true);
    return -1;
}

static int from_environment(const cli_option *options)
{
    int rc = -1;
    for (; rc < 0 && options->name; options++) {
        rc = options->also ? from_variable(options, options->also) : -1;
        if (rc < 0)
            rc = from_variable(options, options->name);
    }
    return rc;
}

/* Takes the option at argv[*at], with its value. */
static int take(const cli_option *options, const cli_option *globals, int argc, char **argv,
                int *at)
{
    const char *word = argv[*at], *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const cli_option *option = find(options, name, len);
    if (!option)
        option = find(globals, name, len);
    if (!option)
        return cli_fail(EXIT_USAGE, word, "unknown option");
    char spelling[64];
    spell(spelling, sizeof spelling, option->name);
    if (option->type == CLI_FLAG && !value)
        value = "true";
    if (!value) {
        if (*at + 1 >= argc)
            return cli_fail(EXIT_USAGE, spelling, "needs a value");
        value = argv[++*at];
    }
    mark_default(option, false);
    if (set(option, value)) {
        char what[300];
        snprintf(what, sizeof what, "%s %s", spelling, value);
        return cli_fail(EXIT_USAGE, what, "value cannot be used");
    }
    return -1;
}

static int set_up_logging(const cli_context *cli)
{
    static fw_log_format format;
    fw_log_level level;
    if (fw_log_level_parse(cli->log_level, &level))
        return cli_fail(EXIT_USAGE, cli->log_level, "no log level");
    if (strcmp(cli->log_format, "logfmt") && strcmp(cli->log_format, "json"))
        return cli_fail(EXIT_USAGE, cli->log_format, "no log format");
    format = strcmp(cli->log_format, "json") ? FW_LOG_LOGFMT : FW_LOG_JSON;
    fw_log_set(level, fw_log_stderr, &format);
    return -1;
}

int cli_parse(cli_context *cli, const cli_option *options, const char *usage, const char *help,
              int argc, char **argv, int least, int most, int *ret_count)
{
    cli_option globals[GLOBAL_OPTIONS];
    global_options(cli, globals);
    int rc = from_environment(globals), count = 0;
    if (rc < 0)
        rc = from_environment(options);
    bool options_end = false;
    for (int i = 0; rc < 0 && i < argc; i++) {
        if (!options_end && !strcmp(argv[i], "--")) {
            options_end = true;
        } else if (options_end || argv[i][0] != '-' || !argv[i][1]) {
            argv[count++] = argv[i];
        } else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            printf("usage: fairway %s %s\n\n%s\n", cli->command, usage, help);
            if (options->name)
                printf("\noptions:\n");
            print_options(options, NULL);
            printf("\nfor every command:\n");
            print_options(globals, options);
            return EXIT_DONE;
        } else {
            rc = take(options, globals, argc, argv, &i);
        }
    }
    if (rc < 0 && (count < least || (most >= 0 && count > most))) {
        char what[300];
        if (count < least)
            snprintf(what, sizeof what, "fairway %s %s", cli->command, usage);
        else
            snprintf(what, sizeof what, "%s", argv[most]);
        rc = cli_fail(EXIT_USAGE, what, count < least ? "operand missing" : "one operand too many");
    }
    if (rc < 0 && !cli->timeout_ms)
        rc = cli_fail(EXIT_USAGE, "--timeout 0", "value cannot be used");
    if (rc < 0)
        rc = set_up_logging(cli);
    *ret_count = count;
    return rc;
}
