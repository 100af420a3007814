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
    {"kv txn", "", "compare and write in one step (JSON on standard input)", cmd_kv_txn},
    {"kv watch", "KEY", "print changes as they come", cmd_kv_watch},
    {"kv lock", "KEY [-- CMD...]", "run a command while holding a lock", cmd_kv_lock},
    {"kv-conform", "", "try everything the store's contract promises", cmd_kv_conform},
    {"register", "NAME --addr URL [-- CMD...]", "keep an instance registered", cmd_register},
    {"resolve", "NAME", "list the instances of a service", cmd_resolve},
    {"watch", "NAME", "print instances as they come and go", cmd_watch},
    {"services", "", "list the services", cmd_services},
    {"drain", "NAME/ID", "take an instance out of use", cmd_drain},
    {"why", "NAME", "what is known of a service, and why", cmd_why},
    {"doctor", "", "check the store and everything that is registered", cmd_doctor},
    {"call", "NAME METHOD [DATA]", "call a service through the client proxy", cmd_call},
    {"serve", "echo", "a small service that registers itself", cmd_serve},
    {"ping", "URL", "round trips to an echo service, over any transport", cmd_ping},
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
           "conflict,\n5 lock lost\n");
}

/* Where the words of a command stand among options. */
struct words {
    int at[2];
    int count;
};

/* True if commands have names of two words that begin with this one. */
static bool has_second_word(const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        size_t len = strcspn(commands[i].name, " ");
        if (commands[i].name[len] && strlen(word) == len && !strncmp(commands[i].name, word, len))
            return true;
    }
    return false;
}

static bool is_help(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h");
}

/* Finds the command, one word or two; the options of every command may stand before, between and
 * behind them. Stops at --help. Mistakes are printed. Exit code or -1. */
static int find_words(int argc, char **argv, struct words *ret_words)
{
    int wanted = 1, last = 0;
    *ret_words = (struct words){.count = 0};
    for (int at = 1; at < argc && ret_words->count < wanted && !is_help(argv[at]);) {
        if (argv[at][0] != '-') {
            if (!ret_words->count && has_second_word(argv[at]))
                wanted = 2;
            ret_words->at[ret_words->count++] = at++;
            continue;
        }
        int option_words = cli_global_option_words(argv[at]);
        if (!option_words)
            return cli_fail(EXIT_USAGE, argv[at], "unknown option before the command");
        last = at;
        at += option_words;
    }
    if (!ret_words->count && last && (last + 1 >= argc || !is_help(argv[argc - 1])))
        return cli_fail(EXIT_USAGE, argv[last], "command missing (fairway --help lists them)");
    return -1;
}

static const cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}

/* Runs a command with all words but its own. */
static int run(const cli_command *command, int argc, char **argv, const struct words *own)
{
    cli_context cli = {
        .timeout_ms = 5000, .log_level = "warn", .log_format = "logfmt", .command = command->name};
    char **words = calloc((size_t)argc + 1, sizeof *words);
    if (!words)
        return cli_fail_error("fairway", UV_ENOMEM, NULL);
    int count = 0;
    for (int i = 1; i < argc; i++)
        if (i != own->at[0] && i != own->at[1])
            words[count++] = argv[i];
    int code = command->run(&cli, count, words);
    free(words);
    if (fflush(stdout) || ferror(stdout))
        code = code ? code : EXIT_FAILED;
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct words words;
    int mistake = find_words(argc, argv, &words);
    if (mistake >= 0)
        return mistake;
    if (!words.count) {
        print_help();
        return argc > 1 ? EXIT_DONE : EXIT_USAGE;
    }
    char name[300];
    const char *first = argv[words.at[0]], *second = words.count == 2 ? argv[words.at[1]] : "";
    snprintf(name, sizeof name, "%.140s%s%.140s", first, *second ? " " : "", second);
    const cli_command *command = find_command(name);
    if (command)
        return run(command, argc, argv, &words);
    if (has_second_word(first) && words.count == 1 && is_help(argv[argc - 1])) {
        print_help();
        return EXIT_DONE;
    }
    return cli_fail(EXIT_USAGE, name, "unknown command (fairway --help lists them)");
}
