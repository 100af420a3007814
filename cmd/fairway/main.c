/* fairway: the one program. Each command has a file of its own. */
#include "cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const cli_command commands[] = {
    {"kv put", "KEY VALUE", "set a value", cmd_kv_put},
    {"kv get", "KEY", "print a value", cmd_kv_get},
    {"kv del", "KEY", "delete a key", cmd_kv_del},
    {"kv exists", "KEY", "exit 0 if there is such a key, 1 if not", cmd_kv_exists},
    {"kv ls", "PREFIX", "list what is below a prefix", cmd_kv_ls},
    {"kv rmtree", "PREFIX", "delete what is below a prefix", cmd_kv_rmtree},
    {"kv cas", "KEY REVISION VALUE", "set a value if it is still at a revision (0: new)",
     cmd_kv_cas},
    {"kv cad", "KEY REVISION", "delete a key if it is still at a revision", cmd_kv_cad},
    {"kv watch", "KEY", "print changes as they come", cmd_kv_watch},
    {"register", "NAME --addr URL [-- CMD...]", "keep an instance registered", cmd_register},
    {"resolve", "NAME", "list the instances of a service", cmd_resolve},
    {"watch", "NAME", "print instances as they come and go", cmd_watch},
    {"services", "", "list the services", cmd_services},
    {"call", "NAME METHOD [DATA]", "call a service through the client proxy", cmd_call},
    {"serve", "echo", "a small service that registers itself", cmd_serve},
    {"gateway", "", "the gateway daemon", cmd_gateway},
    {"demo", "", "a whole cluster on this machine, and what happens to it", cmd_demo},
    {"version", "", "print the version", cmd_version},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void print_help(void)
{
    printf("usage: fairway [--store URL] [--json] [--timeout DUR] COMMAND ...\n\ncommands:\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].operands);
        printf("  %-38s %s\n", left, commands[i].summary);
    }
    printf("\nfairway COMMAND --help tells more. Every option --some-name has the environment "
           "variable\n"
           "FAIRWAY_SOME_NAME as its default. Without --store the embedded store of this machine "
           "is used.\n"
           "exit codes: 0 done, 1 failed or not found, 2 usage, 3 store unreachable or deadline, 4 "
           "conflict\n");
}

/* Words of the command's name that stand at argv; 0 if it is another command. */
static int match(const cli_command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    if (!space)
        return argc >= 1 && !strcmp(argv[0], command->name);
    size_t first = (size_t)(space - command->name);
    return argc >= 2 && strlen(argv[0]) == first && !strncmp(argv[0], command->name, first) &&
                   !strcmp(argv[1], space + 1)
               ? 2
               : 0;
}

/* Takes options that stand before the command: they are moved behind it, where its parser sees
 * them. Gives the place of the command; mistakes are printed. Exit code or -1. */
static int skip_options(int argc, char **argv, int *ret_at)
{
    int at = 1, last = 0;
    while (at < argc && argv[at][0] == '-' && strcmp(argv[at], "--help") &&
           strcmp(argv[at], "-h")) {
        int words = cli_global_option_words(argv[at]);
        if (!words)
            return cli_fail(EXIT_USAGE, argv[at], "unknown option before the command");
        last = at;
        at += words;
    }
    if (at >= argc && last)
        return cli_fail(EXIT_USAGE, argv[last], "command missing (fairway --help lists them)");
    *ret_at = at;
    return -1;
}

static int unknown(int argc, char **argv)
{
    char what[300];
    if (!strcmp(argv[0], "kv"))
        snprintf(what, sizeof what, "kv %s", argc > 1 ? argv[1] : "");
    else
        snprintf(what, sizeof what, "%s", argv[0]);
    return cli_fail(EXIT_USAGE, what, "unknown command (fairway --help lists them)");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int before = 1, mistake = skip_options(argc, argv, &before);
    if (mistake >= 0)
        return mistake;
    if (before == argc || !strcmp(argv[before], "--help") || !strcmp(argv[before], "-h")) {
        print_help();
        return argc > 1 ? EXIT_DONE : EXIT_USAGE;
    }
    char **rest = argv + before;
    int rest_count = argc - before;
    for (size_t i = 0; i < COMMANDS; i++) {
        int words = match(&commands[i], rest_count, rest);
        if (!words)
            continue;
        cli_context cli = {.timeout_ms = 5000,
                           .log_level = "warn",
                           .log_format = "logfmt",
                           .command = commands[i].name};
        /* The options before the command, then what follows it. */
        char **words_after = calloc((size_t)argc + 1, sizeof *words_after);
        if (!words_after)
            return cli_fail_error("fairway", UV_ENOMEM, NULL);
        int count = 0;
        for (int k = 1; k < before; k++)
            words_after[count++] = argv[k];
        for (int k = words; k < rest_count; k++)
            words_after[count++] = rest[k];
        int code = commands[i].run(&cli, count, words_after);
        free(words_after);
        if (fflush(stdout) || ferror(stdout))
            code = code ? code : EXIT_FAILED;
        return code;
    }
    return unknown(rest_count, rest);
}
